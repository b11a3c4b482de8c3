"""The synchronous checks of a create: an error here refuses the whole batch."""

import re

from message_batches.emulator.batches import BatchRequest
from message_batches.emulator.errors import invalid
from message_batches.emulator.params_validation import ParamsRules, check_params
from message_batches.emulator.prompt_parsing import EMPTY, PromptReader

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class RequestCollector:
    """A collector of the requests of one body, which remembers the first error in their shape."""

    def __init__(self, rules: ParamsRules, max_requests: int) -> None:
        self._rules = rules
        self._max_requests = max_requests
        self._prompts = PromptReader()
        self._ids: set[str] = set()
        self._requests: list[BatchRequest] = []
        self._count = 0
        self._problem: str | None = "requests: Field required"
        self._duplicate: str | None = None
        self._extra: str | None = None

    def open(self) -> None:
        """Begin the list of requests."""
        self._problem = None

    def add(self, item: object) -> None:
        """Take one request."""
        number, self._count = self._count, self._count + 1
        if self._problem is not None or self._count > self._max_requests:
            return
        if not isinstance(item, dict):
            self._problem = f"requests.{number}: Input should be a valid dictionary"
            return
        self._problem = _problem_of_item(f"requests.{number}", item)
        if self._problem is not None:
            return
        custom_id, params = item["custom_id"], item["params"]
        if custom_id in self._ids and self._duplicate is None:
            self._duplicate = custom_id
        self._ids.add(custom_id)
        refusal = check_params(params, self._rules)
        if refusal is not None:
            self._requests.append(BatchRequest(custom_id, "", 0, refusal, EMPTY))
            return
        model = self._rules.models.find(params["model"])
        prompt = self._prompts.read(params, shows_thinking=model.shows_thinking)
        self._requests.append(BatchRequest(custom_id, model.id, int(params["max_tokens"]), None, prompt))

    def other(self, name: str) -> None:
        """Take a field that is not a list of requests."""
        if name == "requests":
            self._problem = "requests: Input should be a valid list"
        elif self._extra is None:
            self._extra = f"{name}: Extra inputs are not permitted"

    def no_object(self) -> None:
        """Take a body that is not an object."""
        self._problem = "Input should be a valid dictionary"

    def finish(self) -> list[BatchRequest]:
        """Return the requests, or raise the 400 that says what is wrong."""
        if self._problem is not None:
            raise invalid(self._problem)
        if not self._count:
            raise invalid("requests: List should have at least 1 item after validation, not 0")
        if self._count > self._max_requests:
            most = f"at most {self._max_requests} items after validation, not {self._count}"
            raise invalid(f"requests: List should have {most}")
        if self._extra is not None:
            raise invalid(self._extra)
        if self._duplicate is not None:
            message = f"custom_id's must be unique within a batch. Duplicate custom_id found: {self._duplicate}"
            raise invalid(f"requests: {message}")
        return self._requests


def _problem_of_item(at: str, item: dict[str, object]) -> str | None:
    custom_id = item.get("custom_id")
    if "custom_id" not in item:
        return f"{at}.custom_id: Field required"
    if not isinstance(custom_id, str):
        return f"{at}.custom_id: Input should be a valid string"
    if len(custom_id) > 64:
        return f"{at}.custom_id: String should have at most 64 characters"
    if not _CUSTOM_ID.fullmatch(custom_id):
        return f"{at}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
    if "params" not in item:
        return f"{at}.params: Field required"
    if not isinstance(item["params"], dict):
        return f"{at}.params: Input should be a valid dictionary"
    for name in item:
        if name not in ("custom_id", "params"):
            return f"{at}.{name}: Extra inputs are not permitted"
    return None
