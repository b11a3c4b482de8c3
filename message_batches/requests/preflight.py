"""Preflight: warnings of requests that will be errored, grouped, since the API finds it only when the batch runs."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from message_batches.contract import NextAction
from message_batches.formatting import plural
from message_batches.requests.params import UNSURE, find_reasons, number_of, quoted
from message_batches.requests.validation import BETA_FIELDS

MAX_IDS = 3
MAX_REASONS = 50
"""Reasons that are kept apart: they hold names from the file, of which there may be as many as requests."""

MOST_TOKENS = 10**9
"""As much as a request's `max_tokens` counts: one with thousands of digits could not even be shown."""


@dataclass(frozen=True)
class PreflightWarning:
    """Requests that will be errored for one reason, with the first three of them.

    Attributes:
        places: the lines of the same requests, or their positions in an array.
        certain: False if the API may know more than this version does.
        action: the next step, where there is one besides another value.
    """

    message: str
    count: int
    custom_ids: tuple[str, ...]
    places: tuple[str, ...] = ()
    certain: bool = True
    action: NextAction | None = None

    def __str__(self) -> str:
        named = [f"{custom_id} in {place}" for custom_id, place in zip(self.custom_ids, self.places, strict=True)]
        more = ", ..." if self.count > len(named) else ""
        verb = "will" if self.certain else "may"
        return f"{plural(self.count, 'request')} {verb} be errored: {self.message} ({', '.join(named)}{more})"


@dataclass
class Preflight:
    """Checks the parameters of requests, one request each time.

    Attributes:
        version: the `anthropic-version` that they will be sent under.
        betas: the betas that they will be sent with.
        models: the number of requests by model.
        max_tokens: the sum of their `max_tokens`, of each as much as can be meant.
        largest: the highest `max_tokens` by model, and its place.
        count: the number of requests.
    """

    version: str
    betas: Collection[str] = ()
    models: Counter[str] = field(default_factory=Counter)
    max_tokens: int = 0
    largest: dict[str, tuple[int, str]] = field(default_factory=dict)
    count: int = 0
    _found: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def check(self, request: Any, custom_id: str, place: str, repeated_name: str | None = None) -> None:
        """Count a request's model and tokens, and record why it will be errored.

        Args:
            request: its value.
            custom_id: its id.
            place: its line, or its position in an array.
            repeated_name: a name that one of its objects has twice.
        """
        self.count += 1
        params = request.get("params") if isinstance(request, dict) else None
        if not isinstance(params, dict):
            return  # It is nested as deeply as can just be read, and cannot be checked.
        model, tokens = params.get("model"), number_of(params.get("max_tokens"))
        self.models[model if isinstance(model, str) else "(none)"] += 1
        if tokens is not None:
            tokens = int(min(max(tokens, 0), MOST_TOKENS))
            self.max_tokens += tokens
            if isinstance(model, str) and tokens > self.largest.get(model, (0, ""))[0]:
                self.largest[model] = tokens, place
        reasons = [*find_reasons(params, version=self.version, betas=self.betas)]
        if repeated_name is not None:
            reasons.append(
                f"{UNSURE}{quoted(repeated_name)} is there twice in an object, and the API reads one of them"
            )
        for reason in dict.fromkeys(reasons):
            if reason not in self._found and len(self._found) >= MAX_REASONS:
                reason = "of other reasons, each of them in a few requests"
            self._counts[reason] += 1
            named = self._found.setdefault(reason, [])
            if len(named) < MAX_IDS:
                named.append((custom_id, place))

    def warnings(self) -> list[PreflightWarning]:
        """Return the warnings, most frequent first."""
        return [
            PreflightWarning(
                reason.removeprefix(UNSURE),
                count,
                tuple(custom_id for custom_id, _ in self._found[reason]),
                tuple(place for _, place in self._found[reason]),
                certain=not reason.startswith(UNSURE),
                action=NextAction.GIVE_BETAS if reason.startswith(tuple(map(quoted, BETA_FIELDS))) else None,
            )
            for reason, count in self._counts.most_common()
        ]
