"""Validation of a batch's requests before anything is sent: each problem with its line and field."""

import json
import re
from typing import Any, NoReturn

import msgspec

from message_batches.contract import NextAction
from message_batches.errors import InvalidRequests
from message_batches.formatting import plural
from message_batches.jsonl import BLANK, LONG_LINE, MAX_BODY_BYTES, Line, check_utf8, strip, without_bom
from message_batches.requests import forms
from message_batches.requests.content import ContentHash
from message_batches.requests.forms import FORMS, JOINED, NOT_LINES, SEVERAL_LINES, form_of, form_of_text, not_json
from message_batches.requests.long_line import read_long_line

Problem = tuple[str, str]
"""The name of the field, empty for the whole line, and a description."""

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FIELDS = ("custom_id", "params")
BETA_FIELDS = frozenset(("betas", "beta", "anthropic_beta", "anthropic-beta"))
"""Names under which betas are given to client libraries; to the API they are a header of the batch."""

_WHERE = "of a request, which has custom_id and params alone"
_UNKNOWN_FIELD = re.compile("unknown field `(.*)`", re.DOTALL)


def custom_id_problem(custom_id: str) -> Problem:
    """Return the problem of a custom_id that the API would refuse."""
    return "custom_id", f"{custom_id[:80]!r} is not 1 to 64 of the characters a-z, A-Z, 0-9, _ and -"


def repeated_fields(line: bytes) -> list[Problem]:
    """Return a problem for each field that a request has twice: readers differ on which value counts."""
    try:
        members = json.loads(line, object_pairs_hook=list, parse_int=str)
    except RecursionError:
        return [("", "nested too deeply")]
    names = [name for name, _ in members]
    return [(name, "is there twice: remove one") for name in _FIELDS if names.count(name) > 1]


def unknown_field(name: str, where: str) -> Problem:
    """Return the problem of a field that the API would refuse."""
    # A letter of another script may look like one of ours.
    shown = name if re.fullmatch(r"[\w.-]{1,80}", name, re.ASCII) else ascii(name[:80])
    beta = "; betas are a header of the batch" if name in BETA_FIELDS else ""
    return shown, f"not a field {where}{beta}"


def line_problems(line: bytes, error: Exception, *, first: bool = False) -> list[Problem]:
    """Return the problems of a line that could not be read as a request; the first may show the form of its file."""
    if isinstance(error, RecursionError):
        return [("", "nested too deeply")]
    try:
        # A float, since Python converts no whole number of thousands of digits.
        item = json.loads(line.decode(), parse_int=float, parse_constant=no_constant)
    except UnicodeDecodeError as unicode_error:
        return [("", f"not UTF-8 (byte {unicode_error.start}): save the file as UTF-8")]
    except json.JSONDecodeError as json_error:
        if first and (form := form_of_text(line.decode())):
            return [("", form)]
        return [("", not_json(json_error))]
    except RecursionError:
        return [("", "nested too deeply")]
    except ValueError as value_error:
        return [("", f"not JSON: {value_error}")]
    if not isinstance(error, msgspec.ValidationError):
        return [("", "half of a surrogate pair, such as \\ud83d alone, which is not text")]
    return _item_problems(item)


def _item_problems(item: Any) -> list[Problem]:
    if not isinstance(item, dict):
        return [("", f"not an object but {forms.described(item)}")]
    if form := form_of(item):
        return [("", form)]
    problems = []
    if "custom_id" not in item:
        problems.append(("custom_id", forms.missing(item, "custom_id")))
    elif not isinstance(item["custom_id"], str):
        problems.append(("custom_id", f"not a string but {forms.kind_of(item['custom_id'])}"))
    elif not CUSTOM_ID.fullmatch(item["custom_id"]):
        problems.append(custom_id_problem(item["custom_id"]))
    if "params" not in item:
        problems.append(("params", forms.missing(item, "params")))
    elif not isinstance(item["params"], dict):
        problems.append(("params", f"not an object but {forms.described(item['params'])}"))
    return problems + [unknown_field(name, _WHERE) for name in item if name not in _FIELDS]


def _read_long(line: Line, *, first: bool) -> tuple[Any, list[Problem]]:
    """Return a long line's value, with stand-ins for what is long in it, and its problems."""
    try:
        check_utf8(line)
        item, others_bytes = read_long_line(line)
    except RecursionError:
        return None, [("", "nested too deeply")]
    except msgspec.DecodeError as error:
        # Its start shows that it is another notation, but not where JSON ends.
        form = form_of_text(str(line[:1000], "utf-8", "replace")) if first else None
        shown = form if form and form not in (SEVERAL_LINES, JOINED) else f"not JSON: {error}"
        return None, [("", shown)]
    except ValueError as error:
        return None, [("", str(error))]
    problems = _item_problems(item)
    if others_bytes and not problems:
        problems = [_other_member(line, others_bytes)]
    return item, problems


def _other_member(line: Line, others_bytes: int) -> Problem:
    if others_bytes <= LONG_LINE:
        try:
            _decode(line)
        except msgspec.ValidationError as error:
            if named := _UNKNOWN_FIELD.search(str(error)):
                return unknown_field(named[1], _WHERE)
    return "", "more than one custom_id and one params: remove the others"


def no_constant(name: str) -> NoReturn:
    """Refuse a constant that is JSON only for Python."""
    raise ValueError(f"{name} is not a number in JSON")


MAX_REQUESTS = 100_000
MAX_PROBLEMS = 20
BODY_START, BODY_END = b'{"requests":[', b"]}"
_MOST_WITH_COMMAS = MAX_BODY_BYTES - len(BODY_START) - len(BODY_END) + 1


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    params: msgspec.Raw


_decode = msgspec.json.Decoder(_Request).decode
_AROUND = len('{"custom_id":"","params":}')
_SHORTEST = len('"params":{},')


class RequestCheck:
    """Checks the requests of a batch, and measures their request body.

    Args:
        content: is given the requests, until one of them has a problem; most are then not read once more.

    Attributes:
        ids: the custom_ids so far, in order; those of requests without a problem.
        count: the number of requests so far.
        body_bytes: the length of the request body with them.
    """

    def __init__(self, content: ContentHash | None = None) -> None:
        self.ids: list[str] = []
        self.count = self._bytes = self._line = 0
        self._first = 1
        self._content = content
        self._places: dict[str, str] = {}
        self._problems: list[str] = []
        self._found = 0
        self._forms: set[str] = set()
        self._betas = False

    @property
    def body_bytes(self) -> int:
        """The length of the lines, a comma between each two, and the brackets around them."""
        return len(BODY_START) + self._bytes + max(self.count - 1, 0) + len(BODY_END)

    @property
    def too_large(self) -> bool:
        """Whether they exceed the limits of a batch; from then on they are only counted."""
        return self.count > MAX_REQUESTS or self._bytes + self.count > _MOST_WITH_COMMAS

    @property
    def refused(self) -> bool:
        """Whether they will be refused, whatever follows: nothing needs to be kept of them any more."""
        return self.too_large or self._found > 0

    def place_of(self, custom_id: str) -> str:
        """Return the line of a request, or its position in an array."""
        return self._places[custom_id]

    def lines(self, lines: list[bytes]) -> list[Line]:
        """Check the next lines of a JSONL file, and return them as they are stored: stripped, without blank ones."""
        kept = []
        for number, read in enumerate(lines, self._line + 1):
            if number == 1 or len(read) > LONG_LINE:
                line = strip(without_bom(read) if number == 1 else read)
            else:
                line = read.strip(BLANK)
            if line:
                self.request(line, f"line {number}")
                kept.append(line)
        self._line += len(lines)
        return kept

    def request(self, line: Line, place: str) -> None:
        """Check one request, as JSON without white space around it; its problems name `place`."""
        self.count += 1
        self._bytes += len(line)
        if self.too_large or (self._found and self._forms & NOT_LINES):
            return
        if isinstance(line, memoryview) or len(line) > LONG_LINE:
            item, problems = _read_long(line, first=self.count == self._first)
            self._add_checked("" if problems else item["custom_id"], problems, place)
            if self._content and not self._found:
                self._content.add(line)
            return
        if self._content and not self._found:
            item = self._content.add(line)
            if self._content.by_value and _is_request(item):
                self._add_checked(item["custom_id"], [], place)
                return
        try:
            request = _decode(line)
            if memoryview(request.params)[0] != ord("{"):
                raise msgspec.ValidationError("params is not an object")
            if not line.isascii():
                line.decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._add(place, line_problems(line, error, first=self.count == self._first))
            return
        custom_id = request.custom_id
        room = len(line) - len(request.params) - len(custom_id) - _AROUND
        self._add_checked(custom_id, repeated_fields(line) if room >= _SHORTEST else [], place)

    def _add_checked(self, custom_id: str, problems: list[Problem], place: str) -> None:
        if problems:
            self._add(place, problems)
        elif not CUSTOM_ID.fullmatch(custom_id):
            self._add(place, [custom_id_problem(custom_id)])
        elif earlier := self._keep_id(custom_id, place):
            self._add(place, [("custom_id", forms.repeated(custom_id, earlier))])

    def _keep_id(self, custom_id: str, place: str) -> str | None:
        """Keep a custom_id; return the place of the request that has it already."""
        if earlier := self._places.get(custom_id):
            return earlier
        self._places[custom_id] = place
        self.ids.append(custom_id)
        return None

    def unreadable(self, place: str, why: str) -> None:
        """Record a request that cannot be written as JSON."""
        self.count += 1
        self._add(place, [("", why)])

    def finish(self) -> None:
        """Raise `InvalidRequests` unless the requests may be sent."""
        if self._forms & NOT_LINES:
            self._refuse("the requests cannot be read")
        if self._found:
            self._refuse(f"{plural(self._found, 'problem')} in {plural(self.count, 'request')}")
        if self.count == 0:
            self._refuse("there are no requests")
        if self.too_large:
            self._refuse(f"{plural(self.count, 'request')} of {self.body_bytes:,} bytes")

    def _add(self, place: str, problems: list[Problem]) -> None:
        self._found += len(problems)
        for field, text in problems:
            self._betas = self._betas or field in BETA_FIELDS
            if len(self._problems) < MAX_PROBLEMS and text not in self._forms:
                self._problems.append(f"{place}{field_at(place, field)}: {text}")
            if text in FORMS:
                self._forms.add(text)

    def _refuse(self, what: str) -> NoReturn:
        lines = [f"{what}; nothing was sent", *(f"  {problem}" for problem in self._problems)]
        if self._found > len(self._problems):
            lines.append(f"  and {self._found - len(self._problems):,} more")
        if self.too_large:
            batches = max(-(-self.count // MAX_REQUESTS), -(-self.body_bytes // MAX_BODY_BYTES))
            lines.append(
                f"a batch can have {MAX_REQUESTS:,} requests and {MAX_BODY_BYTES:,} bytes: to send them, start a job, "
                f"which splits them into {batches} batches or more; to attach to a batch, give its requests alone"
            )
        elif self._found:
            lines.append("correct them and start again")
        raise InvalidRequests("\n".join(lines), self._problems, NextAction.GIVE_BETAS if self._betas else None)


def _is_request(item: Any) -> bool:
    return (
        type(item) is dict
        and len(item) == 2
        and type(item.get("custom_id")) is str
        and type(item.get("params")) is dict
    )


def field_at(place: str, field: str) -> str:
    """Return a field behind the place of its request."""
    if not field:
        return ""
    return f".{field}" if place.endswith("]") else f", {field}"
