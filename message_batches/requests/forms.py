"""Forms that are not requests of this API, but are often given as such: each with its name and what to do."""

import json
import re
from typing import Any

_REQUEST = '{"custom_id": ..., "params": {...}}'
OTHER_API = (
    "a request of another API (its parameters are in `body`): write the parameters as the Messages API has them into "
    "`params`, and leave `body`, `method` and `url` out"
)
BEDROCK = (
    "a request for Bedrock: rename `recordId` to `custom_id` and `modelInput` to `params`, and there put `model` in "
    "place of `anthropic_version`"
)
VERTEX = (
    "a request for Vertex or Gemini: rename `request` to `params`, write them as the Messages API has them, with "
    "`model`, and give each a `custom_id`"
)
RESULT = "a result, not a request: this is what comes back from a batch; give the file that was sent"
BATCH = "the description of a batch, not a request: a batch that exists is taken over by its id"
PARAMETERS = f"the parameters of a request, without its custom_id: write {_REQUEST}"
FLAT = "a request whose parameters are beside its custom_id: move them into `params`"
INSTANCES = f"a body for Vertex or another server of models (its requests are in `instances`): write each as {_REQUEST}"
MAP = f"an object of requests by their custom_id: write each as {_REQUEST}, one on a line"
BODY = "an object with `requests`, not a request: write each request on a line of its own, and no other fields"
MESSAGE = f"a message, not a request: put it into `messages` of the parameters, and write {_REQUEST}"
OTHER_NAME = "an object with the requests under another name: call it `requests`, or write each request on a line"
SEVERAL_LINES = "a JSON value over several lines: write each request on a line of its own, or all of them in one array"
JOINED = "a JSON value with something after it: write each request on a line of its own, without a comma after it"
PYTHON = "the notation of Python, not JSON: write each request with json.dumps"
TABLE = f"a table (CSV or TSV), not JSON: write each row as {_REQUEST}"
YAML = f"YAML, not JSON: write each request as {_REQUEST}"
POINTER = "a pointer of Git LFS or git-annex, not the file itself: fetch it (`git lfs pull`, `git annex get`)"
MARKUP = f"HTML or XML, not JSON: write each request as {_REQUEST}"

NOT_LINES = frozenset((SEVERAL_LINES, JOINED, PYTHON, TABLE, YAML, MARKUP, POINTER))
"""The forms of a whole file, which its first line shows."""

FORMS = NOT_LINES | {
    *(OTHER_API, BEDROCK, VERTEX, RESULT, BATCH, PARAMETERS, FLAT, INSTANCES, MAP, BODY, MESSAGE, OTHER_NAME)
}

_BY_FIELD = {
    "modelOutput": RESULT,
    "response": RESULT,
    "result": RESULT,
    "modelInput": BEDROCK,
    "body": OTHER_API,
    "request": VERTEX,
    "requests": BODY,
    "instances": INSTANCES,
    "instance": INSTANCES,
    "messages": PARAMETERS,
    "contents": PARAMETERS,
    "prompt": PARAMETERS,
}
_DECODER = json.JSONDecoder()
_MEMBER = re.compile(r'\s*[{,]\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_CELLS = re.compile(r'"?[\w .-]{1,60}"?(?:([,;\t|])"?[\w .-]{1,60}"?)(?:\1"?[\w .-]{1,60}"?)*')
_QUOTED_CELL = re.compile(r'[^{\["]*[,;\t]"|"[^"]*"[,;\t]')


def form_of(item: dict[str, Any]) -> str | None:
    """Return the form of an object that is not a request; None if it may be meant as one."""
    if "params" in item:
        return None
    if item.get("type") in ("message", "message_batch"):
        return BATCH if item["type"] == "message_batch" else RESULT
    for field, form in _BY_FIELD.items():
        if field in item:
            return FLAT if form is PARAMETERS and "custom_id" in item else form
    if "custom_id" in item and {"model", "max_tokens"} & item.keys():
        return FLAT
    if {"role", "content"} <= item.keys():
        return MESSAGE
    values = list(item.values())
    if any(isinstance(value, list) and value and _is_request(value[0]) for value in values):
        return OTHER_NAME
    if values and all(isinstance(value, dict) and {"messages", "params", "body"} & value.keys() for value in values):
        return MAP
    return None


def _is_request(value: Any) -> bool:
    return isinstance(value, dict) and {"custom_id", "params"} <= value.keys()


def not_json(error: json.JSONDecodeError) -> str:
    """Return the problem of a text that is not JSON, with what stands there where it is a habit of other notations."""
    rest, before = error.doc[error.pos :].lstrip(" \t\r\n"), error.doc[: error.pos].rstrip()
    habit = ""
    if rest.startswith(("//", "/*", "#")):
        habit = ", a comment, which JSON does not have"
    elif rest[:1] in ("}", "]") and before.endswith(","):
        habit = ", a comma before the end: remove it"
    elif rest[:1] in ("\x1e", "\ufeff"):
        habit = ", a record separator or byte order mark: remove it"
    return f"not JSON: {error.msg} (column {error.colno}){habit}"


def form_of_text(line: str) -> str | None:
    """Return the form of a file whose first line is not JSON."""
    if line.startswith(("version https://git-lfs.", "/annex/objects/")):
        return POINTER
    if line.startswith("<"):
        return MARKUP
    if re.match(r"---$|- \w|[\w-]+:( |$)", line):
        return YAML
    if re.match(r"[{\[][{\[\s]*'", line):
        return PYTHON
    if _CELLS.fullmatch(line) or _QUOTED_CELL.match(line):
        return TABLE
    return _broken(line) if line[:1] in ("{", "[") else None


def has_requests(start: bytes) -> bool:
    """Return whether a file is an object with `requests`, which may come after other members."""
    text = start.decode(errors="replace")
    at = 0
    while member := _MEMBER.match(text, at):
        try:
            name = json.loads(member[1])
            if name in ("requests", "custom_id", "params"):
                return bool(name == "requests")
            _, at = _DECODER.raw_decode(text, member.end())
        except (ValueError, RecursionError):
            return False
    return False


def _broken(line: str) -> str | None:
    """Return the form of a line that begins as JSON does: one that ends too early, or goes on after it."""
    try:
        _, end = _DECODER.raw_decode(line)
    except json.JSONDecodeError as error:
        # A text that is not closed is reported where it begins.
        return SEVERAL_LINES if error.pos >= len(line) or "Unterminated" in error.msg else None
    except (ValueError, RecursionError):
        return None
    return JOINED if line[end:].lstrip()[:1] in (",", "{", "[") else None
