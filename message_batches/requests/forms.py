"""Forms that are not requests of this API, but are often given as such: each with its name and what to do."""

import json
import re
from collections.abc import Mapping
from itertools import chain
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
OTHER_ENDS = "requests with another character than a line feed between them: end each line with a line feed (\\n)"
BEFORE = "text before the JSON: a line begins with `{` and has one request, nothing else"
TEXT = f"text, not JSON: write each request as {_REQUEST}, one on a line"
MARKUP = f"HTML or XML, not JSON: write each request as {_REQUEST}"

NOT_LINES = frozenset((SEVERAL_LINES, JOINED, OTHER_ENDS, BEFORE, TEXT, PYTHON, TABLE, YAML, MARKUP, POINTER))
"""The forms of a whole file, which its first line shows."""

FORMS = NOT_LINES | {
    *(OTHER_API, BEDROCK, VERTEX, RESULT, BATCH, PARAMETERS, FLAT, INSTANCES, MAP, BODY, MESSAGE, OTHER_NAME)
}

BY_FIELD = {
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
    "input": PARAMETERS,
    "inputs": PARAMETERS,
}
_NAMES = {
    "custom_id": ("customid", "id", "key", "requestid"),
    "params": ("params", "param", "parameters", "arguments", "args"),
}
"""Names that are written for a field, without case and separators."""
_DECODER = json.JSONDecoder()
_MEMBER = re.compile(r'\s*[{,]\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*')
_CELLS = re.compile(r'"?[\w .-]{1,60}"?(?:([,;\t|])"?[\w .-]{1,60}"?)(?:\1"?[\w .-]{1,60}"?)*')
_QUOTED_CELL = re.compile(r'[^{\["]*[,;\t]"|"[^"]*"[,;\t]')

_WIDE = "UTF-16 or UTF-32 text: save it as UTF-8"
_OTHER_FORMATS = {
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff", b"{\0", b"[\0", b"\0{", b"\0[", b"\0\0\xfe\xff"), _WIDE),
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ": "compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"7z\xbc\xaf": "compressed by 7-Zip: unpack it first",
    b"Rar!": "compressed by RAR: unpack it first",
    b"\x04\x22\x4d\x18": "compressed by lz4: unpack it first",
    b"PK\x03\x04": "a zip archive, or a spreadsheet: unpack it, or write it as JSONL",
    b"PAR1": "Parquet: write it as JSONL",
    b"ARROW1": "Arrow: write it as JSONL",
    b"FEA1": "Feather: write it as JSONL",
    b"Obj\x01": "Avro: write it as JSONL",
    b"SQLite format 3": "a database: write its rows as JSONL",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of Excel: write it as JSONL",
    b"%PDF": "a PDF",
}
_SHOWS_FORMAT = 16
"""Bytes by which a format is told."""


def format_of(head: bytes, start: bytes) -> str | None:
    """Return the format of a file that is not text, by its first bytes and by those after a mark and blanks."""
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            return what
    if b"\0" in head or _is_binary(start[:_SHOWS_FORMAT]):
        return "not text: expected JSONL, a JSON array, or an object with `requests`"
    return None


def _is_binary(start: bytes) -> bool:
    """Return whether a file that does not begin as JSON does begins with what no text has."""
    if start[:1] in (b"{", b"["):
        return False
    try:
        # The last character may be cut.
        text = start.decode(errors="strict" if len(start) < _SHOWS_FORMAT else "surrogateescape")
    except UnicodeDecodeError:
        return True
    return any(each < " " and each not in "\t\n\r\x0c\x1b\x1e" for each in text) or any(
        "\udc80" <= each <= "\udcff" for each in text[:-3]
    )


def form_of(item: dict[str, Any]) -> str | None:
    """Return the form of an object that is not a request; None if it may be meant as one."""
    if "params" in item:
        return None
    if item.get("type") in ("error", "message", "message_batch"):
        return BATCH if item["type"] == "message_batch" else RESULT
    for field, form in BY_FIELD.items():
        if field in item:
            return FLAT if form is PARAMETERS and "custom_id" in item else form
    if "custom_id" in item and {"model", "max_tokens"} & item.keys():
        return FLAT
    if {"role", "content"} <= item.keys():
        return MESSAGE
    values = list(item.values())
    if any(isinstance(value, list) and value and _is_request(value[0]) for value in values):
        return OTHER_NAME
    if isinstance(item.get("batch"), dict):
        return VERTEX
    if values and all(isinstance(value, dict) and {"messages", "params", "body"} & value.keys() for value in values):
        return MAP
    return None


def missing(item: dict[str, Any], field: str) -> str:
    """Return the problem of a field that is not there; another name of it is named."""
    for name in item:
        if name.casefold().replace("-", "").replace("_", "") in _NAMES[field]:
            return f"missing: rename `{name}`"
    return "missing"


def repeated(custom_id: str, earlier: str) -> str:
    """Return the problem of a custom_id that the request at an earlier place has."""
    return f"{custom_id!r} is also the custom_id of {earlier}"


def described(value: Any) -> str:
    """Return the kind of a value that is not of the kind it should be."""
    written = isinstance(value, str) and value.lstrip().startswith("{")
    return "a string of JSON: write the object itself" if written else kind_of(value)


def kind_of(value: Any) -> str:
    """Return the kind of a value, with its article."""
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _is_request(value: Any) -> bool:
    return isinstance(value, dict) and {"custom_id", "params"} <= value.keys()


_HABITS: Mapping[tuple[str, ...], str] = {
    ("//", "/*", "#"): "a comment, which JSON does not have",
    ("\x1e", "\ufeff"): "a record separator or byte order mark: remove it",
    (
        "'",
        "\u2018",
        "\u2019",
        "\u201c",
        "\u201d",
        "`",
    ): "another quotation mark than JSON's, which is a straight double one",
    ("True", "False", "None", "undefined"): "a word of another notation: JSON has true, false and null",
    ("<<<<<<<", "=======", ">>>>>>>"): "a mark of a merge conflict: resolve it",
    (";", "+"): "a character that JSON does not have: remove it",
}
"""What stands where JSON ends, in the notations that people are used to."""


def not_json(error: json.JSONDecodeError) -> str:
    """Return the problem of a text that is not JSON, with what stands there where it is a habit of other notations."""
    rest, before = error.doc[error.pos :].lstrip(" \t\r\n"), error.doc[: error.pos].rstrip()
    habit = next((habit for begins, habit in _HABITS.items() if rest.startswith(begins)), "")
    if rest[:1] in ("}", "]") and before.endswith(","):
        habit = "a comma before the end: remove it"
    elif error.msg.startswith("Invalid control"):
        habit = "write it as an escape such as \\n or \\t"
    elif "escape" in error.msg:
        habit = "a backslash itself is written twice"
    elif error.msg == "Extra data" and rest[:1] in ("[", "{", ","):
        habit = "something after the JSON: write all requests in one array, or each on a line"
    elif not rest or error.msg.startswith("Unterminated"):
        habit = "the line ends too early"
    elif before[-1:].isdigit() and (rest[:1].isalnum() or rest[:1] == "_"):
        habit = "a number in another notation than JSON's"
    elif not habit and not rest[0].isascii():
        habit = f"the character U+{ord(rest[0]):04X}: remove it"
    habit = f", {habit}" if habit else ""
    return f"not JSON: {error.msg} (column {error.colno}){habit}"


def form_of_text(line: str) -> str | None:
    """Return the form of a file whose first line is not JSON."""
    if line.startswith(("version https://git-lfs.", "/annex/objects/")):
        return POINTER
    if line[:1] == "<" and (line[1:2].isalpha() or line[1:2] in ("!", "?", "/")):
        return MARKUP
    if line.startswith(("data: {", "```")):
        return BEFORE
    if re.match(r"---$|- \w|[\w-]+:( |$)", line):
        return YAML
    if re.match(r"[{\[][{\[\s]*'", line):
        return PYTHON
    if line[:1] == "|" or _CELLS.fullmatch(line) or _QUOTED_CELL.match(line):
        return TABLE
    if line[:1] in ("{", "["):
        return _broken(line)
    # What has a habit of its own is reported with its line; a value of JSON is no text.
    if line.startswith(tuple(chain.from_iterable(_HABITS))) or not line[:1].isascii():
        return None
    if '{"' in line:
        return BEFORE
    return TEXT if line[:1].isalpha() else None


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
    if line[end : end + 1] in tuple("\r\x0b\x0c\x85\u2028\u2029"):
        return OTHER_ENDS
    return JOINED if line[end:].lstrip()[:1] in (",", "{", "[") else None
