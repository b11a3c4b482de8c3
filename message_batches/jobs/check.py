"""Checks the requests of a job, of any number, and where one shard ends and the next begins.

Memory is independent of their number, but for 8 bytes each: their custom_ids, and the places where they were found, are
in a scratch file.
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from message_batches.job_models import ShardLimits
from message_batches.jsonl import Line, Splitter
from message_batches.requests import forms
from message_batches.requests.validation import BODY_END, BODY_START, MAX_PROBLEMS, Problem, RequestCheck, field_at
from message_batches.storage.scratch import Scratch

AROUND = len(BODY_START) + len(BODY_END) - 1
"""The bytes that a body has more than its lines: the last of them ends without a comma."""

_HELD = 2000
_BUCKETS = 256


class Cut(NamedTuple):
    """The end of a shard: in the lines, in the ids, and its number of requests."""

    lines_end: int
    ids_end: int
    requests: int


class JobCheck(RequestCheck):
    """Checks the requests of a job: of any number, each within the limits of a shard, no custom_id twice."""

    def __init__(self, limits: ShardLimits, ids: Scratch) -> None:
        super().__init__()
        self._limits = limits
        self._index = _IdIndex(ids)
        self._cuts: list[Cut] = []
        self._cut_at = self._cut_bytes = 0
        self._found_in: list[int] = []
        self._source = ""

    @property
    def too_large(self) -> bool:
        """Never: a request that is too large alone is a problem of its own."""
        return False

    @property
    def line(self) -> int:
        """The number of lines of this file so far."""
        return self._line

    def begin_file(self, name: str) -> None:
        """Name a file in the places of the requests that follow."""
        self._line = 0
        self._first = self.count + 1
        self._source = f"{name}, "

    def cuts(self) -> list[Cut]:
        """Return the ends of all shards, once all requests are checked."""
        self._cut()
        return self._cuts

    def request(self, line: Line, place: str) -> None:
        """Check one request; it begins another shard where this one has no room for it."""
        place = f"{self._source}{place}"
        if len(line) + 1 + AROUND > self._limits.max_bytes:
            self.count += 1
            size = f"{len(line) + 1 + AROUND:,} bytes with it alone, and the limit is {self._limits.max_bytes:,}"
            self._add(place, [("", f"too large for a batch: the body has {size}")])
            return
        full = self.count - self._cut_at >= self._limits.max_requests
        if full or self._lines_bytes - self._cut_bytes + len(line) + 1 + AROUND > self._limits.max_bytes:
            self._cut()
        super().request(line, place)

    def unreadable(self, place: str, why: str) -> None:
        """Record a request that cannot be written as JSON."""
        super().unreadable(f"{self._source}{place}", why)

    def finish(self) -> None:
        """Raise `InvalidRequests` unless the requests may be sent; a custom_id that is there twice names both."""
        found, more = self._index.repeated()
        for number, custom_id, place, earlier in found:
            self._insert(number, f"{place}{field_at(place, 'custom_id')}: {forms.repeated(custom_id, earlier)}")
        self._found += len(found) + more
        super().finish()

    @property
    def _lines_bytes(self) -> int:
        return self._bytes + self.count

    def _cut(self) -> None:
        if self.count > self._cut_at:
            self._cuts.append(Cut(self._lines_bytes, self._index.size, self.count - self._cut_at))
            self._cut_at, self._cut_bytes = self.count, self._lines_bytes

    def _keep_id(self, custom_id: str, place: str) -> None:
        self._index.add(custom_id, place)

    def _add(self, place: str, problems: list[Problem]) -> None:
        super()._add(place, problems)
        self._found_in += [self.count] * (len(self._problems) - len(self._found_in))
        self._index.skip()

    def _insert(self, number: int, problem: str) -> None:
        """Put a problem behind those of the requests before it."""
        at = sum(1 for other in self._found_in if other <= number)
        self._found_in.insert(at, number)
        self._problems.insert(at, problem)
        del self._problems[MAX_PROBLEMS:], self._found_in[MAX_PROBLEMS:]


class _IdIndex:
    """The custom_ids and the places of requests, in a scratch file, and a hash of 8 bytes of each in memory."""

    def __init__(self, file: Scratch) -> None:
        self._file = file
        self._held: list[str] = []
        self._hashes = [array("q") for _ in range(_BUCKETS)]

    @property
    def size(self) -> int:
        """The bytes of the requests so far."""
        self._flush()
        return self._file.size

    def add(self, custom_id: str, place: str) -> None:
        """Add a request."""
        hashed = hash(custom_id)
        self._hashes[hashed % _BUCKETS].append(hashed)
        self._held.append(f"{custom_id} {place}\n")
        if len(self._held) >= _HELD:
            self._flush()

    def skip(self) -> None:
        """Count a request that has a problem."""
        self._held.append("\n")

    def repeated(self) -> tuple[list[tuple[int, str, str, str]], int]:
        """Return requests whose custom_id an earlier one has, at most 20 of them, and how many more there are.

        Each has its number, its custom_id, its place, and that of the earlier one.
        """
        hashes: set[int] = set()
        count = 0
        for bucket in self._hashes:
            if more := len(bucket) - len(set(bucket)):
                count += more
                hashes.update(hashed for hashed, times in Counter(bucket).items() if times > 1)
        self._flush()
        found: list[tuple[int, str, str, str]] = []
        places: dict[str, str] = {}
        for number, (custom_id, place) in enumerate(id_records(self._file) if hashes else (), 1):
            if hash(custom_id) not in hashes or not custom_id:
                continue
            if (earlier := places.setdefault(custom_id, place)) is not place:
                found.append((number, custom_id, place, earlier))
                if len(found) == MAX_PROBLEMS:
                    return found, count - len(found)
        # The few others are different ids of the same hash.
        return found, 0

    def _flush(self) -> None:
        if self._held:
            self._file.append("".join(self._held).encode("utf-8", "replace"))
            self._held = []


def id_records(ids: Scratch) -> Iterator[tuple[str, str]]:
    """Yield the custom_id and the place of each request of a shard."""
    splitter = Splitter()
    for chunk in ids.chunks(ids.size):
        for record in splitter.feed(chunk):
            custom_id, _, place = record.decode().partition(" ")
            yield custom_id, place
