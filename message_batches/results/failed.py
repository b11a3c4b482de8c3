"""The requests of a batch that have no reply, or none that can be used: which to send again, which to correct first."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import msgspec

from message_batches.error_causes import ErrorCause, cause_of
from message_batches.result_models import BILLED, Summary
from message_batches.results.parser import TOKEN, ResultLine
from message_batches.results.reader import Pair, decode_request
from message_batches.results.structured_output import CUT_OFF, SchemaCheck, Verdict
from message_batches.results.summary import USABLE

MAX_TOKENS = "max_tokens"
"""The limit of a reply, and the stop reason of one that has reached it."""

_OUTPUT = BILLED.index("output")

CORRECTED_FIRST = frozenset({*CUT_OFF, "refusal", "pause_turn"})
"""The stop reasons after which the same request ends in the same way: the first two for want of room; the classifiers
that refuse read the same prompt; and a turn that was paused goes on only where its reply follows the messages. Nothing
of the kind is known of other reasons."""


@dataclass(frozen=True)
class Wanted:
    """The requests to look for.

    Attributes:
        errors: those that came back errored, expired or canceled.
        unusable: those whose reply is cut off, refused or paused, or has ended for a reason that is not known.
        invalid: those whose answer does not match the schema that they gave for it.
        max_tokens: raises the limit of requests that were cut off at a lower one.
    """

    errors: bool = True
    unusable: bool = False
    invalid: bool = False
    max_tokens: int | None = None


@dataclass
class FailedRequests:
    """The custom_ids of the requests that are wanted.

    Attributes:
        retryable: worth sending again, as they are or with a higher `max_tokens`.
        raised: those of them whose `max_tokens` is raised.
        invalid: to be corrected first.
        reasons: the number of those to be corrected by the stop reason of their reply, if they have one.
        longest_cut: the tokens of the longest reply that was cut off at `max_tokens`; 0 if none says so.
        mismatched: the number of those whose answer does not match its schema.
        not_compared: how many answers could not be compared, and are not among these.
    """

    wanted: Wanted = field(default_factory=Wanted)
    retryable: set[str] = field(default_factory=set)
    raised: set[str] = field(default_factory=set)
    invalid: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    longest_cut: int = 0
    mismatched: int = 0
    not_compared: int = 0
    schemas: SchemaCheck = field(default_factory=SchemaCheck)

    def add(self, result: ResultLine, line: bytes = b"", request: bytes = b"") -> None:
        """Add a result, if it is of the wanted ones.

        Args:
            result: the fields of `line`.
            line: the result.
            request: the line of its request.
        """
        if result.type != "succeeded":
            if self.wanted.errors:
                to_correct = result.error and cause_of(*result.error, result.error_code) is ErrorCause.REQUEST
                (self.invalid if to_correct else self.retryable).add(result.custom_id)
        elif result.stop_reason not in USABLE:
            if self.wanted.unusable:
                self._add_unusable(result, request)
        elif self.wanted.invalid:
            verdict = self.schemas.add(result, line, request)
            self.not_compared += verdict is Verdict.UNCHECKED
            if verdict is Verdict.INVALID:
                self.mismatched += 1
                self.retryable.add(result.custom_id)

    def _add_unusable(self, result: ResultLine, request: bytes) -> None:
        reason, most = result.stop_reason, self.wanted.max_tokens
        if reason == MAX_TOKENS:
            self.longest_cut = max(self.longest_cut, result.usage[_OUTPUT])
        if reason == MAX_TOKENS and most is not None and _max_tokens(request) < most:
            self.raised.add(result.custom_id)
            self.retryable.add(result.custom_id)
            return
        if reason not in CORRECTED_FIRST:
            self.retryable.add(result.custom_id)
            return
        self.invalid.add(result.custom_id)
        self.reasons[reason] += 1


def may_pass(summary: Summary) -> bool:
    """Return whether a request of these results failed in passing: the same one, sent again, may succeed."""
    counts = summary.counts
    passing = any(cause_of(each.type, each.message) is not ErrorCause.REQUEST for each in summary.errors)
    return bool(counts.expired or counts.canceled or passing)


async def failed_requests(pairs: AsyncIterable[Pair], wanted: Wanted) -> FailedRequests:
    """Sort out the wanted ones of results and their requests."""
    failed = FailedRequests(wanted)
    async for pair in pairs:
        failed.add(*pair)
        if wanted.invalid:
            # A comparison may take seconds, and many results are read at a time: Ctrl-C is heard in between.
            await asyncio.sleep(0)
    return failed


class _Params(msgspec.Struct):
    max_tokens: int | float


class _Limited(msgspec.Struct):
    params: _Params


_decode_limited = msgspec.json.Decoder(_Limited).decode


async def requests_of(
    manifest: AsyncIterable[bytes],
    ids: AbstractSet[str],
    raised: AbstractSet[str] = frozenset(),
    max_tokens: int | None = None,
) -> AsyncIterator[bytes]:
    """Yield the lines of a manifest for these custom_ids, byte for byte but for a `max_tokens` that is raised."""
    async for line in manifest:
        if line and (custom_id := decode_request(line).custom_id) in ids:
            if custom_id in raised and max_tokens is not None:
                line = with_max_tokens(line, max_tokens)
            yield line + b"\n"


def with_max_tokens(request: bytes, limit: int) -> bytes:
    """Return a request with this `max_tokens`, and everything else byte for byte as it was."""
    text = request.decode()
    kept, end = [], 0
    for start, stop in _limits(text):
        kept += [text[end:start], str(limit)]
        end = stop
    return "".join([*kept, text[end:]]).encode()


def _limits(text: str) -> list[tuple[int, int]]:
    """Return where the values of `params.max_tokens` are: one, unless the name is there twice."""
    found, depth, of_params = [], 0, False
    for token in TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif depth <= 2 and (start := _value_start(text, token.end())):
            name = json.loads(token[0])
            if depth == 1:
                of_params = name == "params"
            elif of_params and name == MAX_TOKENS:
                stop = start
                while text[stop] not in ",} \t\r\n":
                    stop += 1
                found.append((start, stop))
    return found


def _value_start(text: str, name_end: int) -> int:
    """Return where the value of a name begins; 0 for a text that is not a name, but a value."""
    colon = name_end
    while text[colon] in " \t\r\n":
        colon += 1
    if text[colon] != ":":
        return 0
    start = colon + 1
    while text[start] in " \t\r\n":
        start += 1
    return start


def _max_tokens(request: bytes) -> float:
    """Return the limit of a request, which may be written as `1e3`; one that cannot be read is not below any."""
    try:
        limit = _decode_limited(request).params.max_tokens
    except (msgspec.DecodeError, ValueError, RecursionError):
        return 2**63
    return 2**63 if limit % 1 else limit
