r"""Lines: splitting bytes on `\n` only, and checking the requests of a batch before anything is sent."""

from typing import NoReturn

import msgspec

from message_batches.errors import InvalidRequests, MessageBatchesError
from message_batches.request_problems import CUSTOM_ID, Problem, bad_id, problems_of, repeated_fields

MAX_REQUESTS = 100_000
MAX_BODY_BYTES = 256_000_000
MAX_PROBLEMS = 20
BODY_START = b'{"requests":['
BODY_END = b"]}"

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"


class Splitter:
    r"""Bytes into lines, at the byte `\n` and nowhere else: U+2028 and U+0085 occur inside JSON strings.

    Args:
        too_long: raised for a line longer than a batch, so that memory stays bounded.
    """

    def __init__(self, too_long: type[MessageBatchesError] = InvalidRequests) -> None:
        self._too_long = too_long
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        r"""The lines that `data` completes, without their `\n`."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            lines[0] = self._whole(lines[0])
        self._hold(rest)
        return lines

    def views(self, data: bytes) -> list[memoryview]:
        """The same lines, not copied but for one that began in an earlier piece: for long lines, in great number."""
        lines: list[memoryview] = []
        view = memoryview(data)
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            lines.append(view[start:end])
            start = end + 1
        if lines:
            lines[0] = memoryview(self._whole(lines[0]))
        self._hold(data[start:])
        return lines

    def end(self) -> list[bytes]:
        r"""The last line, where it has no `\n`."""
        rest = self._whole(b"")
        return [rest] if rest else []

    def _whole(self, end: bytes | memoryview) -> bytes:
        """The line that ends so, with what was held of it."""
        line = b"".join([*self._held, end])
        self._held.clear()
        self._size = 0
        return line

    def _hold(self, rest: bytes) -> None:
        self._held.append(rest)
        self._size += len(rest)
        if self._size > MAX_BODY_BYTES:
            raise self._too_long(f"A line is longer than {MAX_BODY_BYTES:,} bytes, which no request or result is")


class _Object(msgspec.Struct):
    """Any JSON object, passed over."""


class _Request(msgspec.Struct):
    custom_id: str
    params: _Object


_decode = msgspec.json.Decoder(_Request).decode


class RequestCheck:
    """What is wrong with the requests of a batch, and what their body measures.

    Attributes:
        ids: the custom_ids seen, in order.
        count: requests seen.
        body_bytes: length of the request body that would carry them.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.count = 0
        self._bytes = 0
        self._line = 0
        self._places: dict[str, str] = {}
        self._problems: list[str] = []
        self._found = 0

    @property
    def body_bytes(self) -> int:
        """The lines, a comma between each two, and what stands around them."""
        return len(BODY_START) + self._bytes + max(self.count - 1, 0) + len(BODY_END)

    @property
    def too_large(self) -> bool:
        """Whether no batch could hold them; from then on they are only counted."""
        return self.count > MAX_REQUESTS or self.body_bytes > MAX_BODY_BYTES

    def lines(self, lines: list[bytes]) -> bytes:
        r"""Check the next lines of a JSONL file, and give them back as they are stored: stripped, `\n` after each."""
        kept = []
        for line in lines:
            self._line += 1
            if self._line == 1:
                line = line.removeprefix(_BOM)
            line = line.strip(_BLANK)
            if line:
                self.request(line, f"line {self._line}")
                kept.append(line)
        return b"\n".join([*kept, b""])

    def request(self, line: bytes, place: str) -> None:
        """Check one request, as JSON without blanks around it; problems name `place`."""
        self.count += 1
        self._bytes += len(line)
        if self.too_large:
            return
        try:
            custom_id = _decode(line).custom_id
            if not line.isascii():
                line.decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._add(place, problems_of(line, error))
            return
        if repeated := repeated_fields(line):
            self._add(place, repeated)
        elif not CUSTOM_ID.fullmatch(custom_id):
            self._add(place, [bad_id(custom_id)])
        elif custom_id in self._places:
            self._add(place, [("custom_id", f"{custom_id!r} is also the custom_id of {self._places[custom_id]}")])
        else:
            self._places[custom_id] = place
        self.ids.append(custom_id)

    def unreadable(self, place: str, why: str) -> None:
        """Record a request that cannot even be written as JSON."""
        self.count += 1
        self._add(place, [("", why)])

    def finish(self) -> None:
        """Raise `InvalidRequests` unless they may be sent."""
        if self._found:
            self._refuse(f"{_many(self._found, 'problem')} in {_many(self.count, 'request')}")
        if self.count == 0:
            self._refuse("there are no requests; a batch takes 1 to 100,000")
        if self.too_large:
            self._refuse(f"{_many(self.count, 'request')} of {self.body_bytes:,} bytes")

    def _add(self, place: str, problems: list[Problem]) -> None:
        self._found += len(problems)
        for field, text in problems[: MAX_PROBLEMS - len(self._problems)]:
            self._problems.append(f"{place}{_at(place, field)}: {text}")

    def _refuse(self, what: str) -> NoReturn:
        lines = [f"{what}; nothing was sent", *(f"  {problem}" for problem in self._problems)]
        if self._found > len(self._problems):
            lines.append(f"  and {self._found - len(self._problems):,} more")
        if self.too_large:
            files = max(-(-self.count // MAX_REQUESTS), -(-self.body_bytes // MAX_BODY_BYTES))
            lines.append(
                f"a batch takes {MAX_REQUESTS:,} requests and {MAX_BODY_BYTES:,} bytes: split them into "
                f"{files} files or more, and start one run for each"
            )
        elif self._found:
            lines.append("correct them and start again")
        raise InvalidRequests("\n".join(lines), self._problems)


def _at(place: str, field: str) -> str:
    if not field:
        return ""
    return f", {field}" if place.startswith("line ") else f".{field}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
