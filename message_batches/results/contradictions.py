"""Contradictions: results that cannot be answers to our requests, although they have the same custom_ids.

Ids such as `0`, `1`, `2` are common, so that another program on the same key may use ours. Only what no answer to a
request can have counts: taking our own batch for another's would pay for it twice.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from message_batches.claude_models import by_name
from message_batches.concurrency import process_in_thread
from message_batches.errors import RequestsNotFound, ResultsIncomplete
from message_batches.formatting import plural
from message_batches.jsonl import LONG_LINE, Line, Splitter
from message_batches.models import Manifest
from message_batches.results.parser import read_result
from message_batches.storage.interface import Store

MAX_SHAPES = 10_000
MAX_SHAPES_BYTES = 20_000_000
"""Different requests, by what is compared, that are kept apart, and what they take in memory; of further ones only the
custom_id is compared."""


class Expected(NamedTuple):
    """The parts of a request that its answer shows again; the defaults of all admit any answer.

    Attributes:
        model: its name; empty if another model may answer.
        max_tokens: the most tokens of the answer; None if they are not comparable.
        tools: the names of its tools; None if the answer may use others, as with the provider's own tools.
        forced: whether the answer has to use one of them.
        stop_sequences: the sequences that may end the answer; None if they cannot be read.
        may_think: whether the answer may contain thinking.
    """

    model: str = ""
    max_tokens: int | None = None
    tools: frozenset[str] | None = None
    forced: bool = False
    stop_sequences: frozenset[str] | None = None
    may_think: bool = True

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        names = [self.model, *(self.tools or ()), *(self.stop_sequences or ())]
        return sum(100 + len(name) for name in names)

    def model_contradiction(self, answered: str) -> str:
        """Describe how the model that answered contradicts the request; empty if it does not."""
        if not self.model or _may_be(self.model, answered):
            return ""
        return f"model {answered!r}, {self.model!r} was asked for"

    def contradiction(self, answer: "_Answer") -> str:
        """Describe the first part of an answer that contradicts the request; empty if none does."""
        calls = {block.name for block in answer.content if block.type == "tool_use" and block.name is not None}
        if other := self.model_contradiction(answer.model):
            return other
        if self.max_tokens is not None and not answer.sampled_repeatedly and answer.output_tokens > self.max_tokens:
            return f"{answer.output_tokens:,} output tokens, at most {self.max_tokens:,} were asked for"
        if self.tools is not None and not calls <= self.tools:
            return f"a call of the tool {min(calls - self.tools)!r}, which was not offered"
        if self.tools is not None and answer.has("server_tool_use", "mcp_tool_use"):
            return "a call of the provider's tool, and none was offered"
        if self.forced and answer.stop_reason == "end_turn" and not calls:
            return "no call of a tool, which was asked for"
        ending = answer.stop_sequence
        if self.stop_sequences is not None and ending is not None and ending not in self.stop_sequences:
            return f"it was ended by {ending!r}, which was not asked for"
        if not self.may_think and answer.has("thinking", "redacted_thinking"):
            return "thinking, which was not asked for"
        return ""


ANY = Expected()
"""A request of which only the custom_id is compared."""


async def read_expected(store: Store, manifest: Manifest) -> dict[str, Expected]:
    """Read what the answers to a manifest's requests may have, by custom_id, in its order.

    `RequestsNotFound` if the requests are gone or changed.
    """
    read = _Requests()
    await process_in_thread(_stream(store, manifest), read.feed)
    return read.finish(manifest)


def contradiction_of(line: Line, expected: Expected) -> str:
    """Describe how a result line contradicts the request; empty if it does not, or cannot be compared.

    Of a line over 1 MiB only the model is compared: its content may be of more blocks than memory holds.
    """
    if len(line) > LONG_LINE:
        return _contradiction_of_long(line, expected)
    try:
        result = _decode_result(line).result
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    if result.type == "succeeded" and result.message:
        return expected.contradiction(result.message)
    error = result.error and (result.error.error or result.error)
    if error and error.type == "not_found_error" and (named := _UNKNOWN_MODEL.fullmatch(error.message or "")):
        return "" if not expected.model or _may_be(expected.model, named[1]) else f"an error on the model {named[1]!r}"
    return ""


def _contradiction_of_long(line: Line, expected: Expected) -> str:
    try:
        result = read_result(line)
    except ValueError:
        return ""
    return expected.model_contradiction(result.model) if result.type == "succeeded" and result.model else ""


def contradictions(results: Iterable[bytes], expected: Mapping[str, Expected]) -> str:
    """Describe results of which most contradict their requests, with a first example; empty if they may be theirs.

    Args:
        results: the lines in the order of the requests, each request once, in chunks of any size.
        expected: from `read_expected()`.
    """
    lines_read = count = 0
    first = ""
    splitter = Splitter(ResultsIncomplete)
    lines = (line for chunk in results for line in splitter.feed(chunk))
    for line, (custom_id, request) in zip(lines, expected.items(), strict=True):
        lines_read += 1
        if reason := contradiction_of(line, request):
            count += 1
            first = first or f"{custom_id}: {reason}"
    return (
        f"{plural(count, 'result')} cannot be of these requests ({first[:300]})" if refutes(count, lines_read) else ""
    )


def refutes(contradicting: int, results: int) -> bool:
    """Return whether so many contradictions show that a batch is another's: a model may once answer as none should."""
    return 2 * contradicting > results


async def _stream(store: Store, manifest: Manifest) -> AsyncIterator[bytes]:
    try:
        async for chunk in store.stream(store.name(manifest.uri)):
            yield chunk
    except FileNotFoundError as error:
        raise RequestsNotFound(f"{manifest.uri} is no longer in the store: start a new run") from error


class _Requests:
    """Reads a manifest in pieces; equal shapes are one object, so that 100,000 requests need little memory."""

    def __init__(self) -> None:
        self._expected: dict[str, Expected] = {}
        self._shapes: dict[Expected, Expected] = {}
        self._shapes_bytes = 0
        self._splitter = Splitter()
        self._digest = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        self._digest.update(data)
        self._add(self._splitter.feed(data))

    def finish(self, manifest: Manifest) -> dict[str, Expected]:
        self._add(self._splitter.end())
        if self._digest.hexdigest() != manifest.sha256:
            raise RequestsNotFound(f"{manifest.uri} has changed since it was checked: start a new run")
        return self._expected

    def _add(self, lines: list[bytes]) -> None:
        for line in lines:
            custom_id, shape = _read_request(line)
            if shape not in self._shapes:
                self._shapes_bytes += shape.bytes
                if len(self._shapes) >= MAX_SHAPES or self._shapes_bytes > MAX_SHAPES_BYTES:
                    shape = ANY
            self._expected[custom_id] = self._shapes.setdefault(shape, shape)


class _Tool(msgspec.Struct):
    name: str
    type: str | None = None


class _Kind(msgspec.Struct):
    type: str | None = None


class _Params(msgspec.Struct):
    model: str
    max_tokens: int
    tools: list[_Tool] | None = None
    tool_choice: _Kind | None = None
    stop_sequences: list[str] | None = None
    thinking: _Kind | None = None
    mcp_servers: Any = None
    container: Any = None
    fallbacks: Any = None
    fallback_credit_token: Any = None

    @property
    def expected(self) -> Expected:
        others = any(tool.type not in (None, "custom") for tool in self.tools or ())
        provided = bool(others or self.mcp_servers or self.container)
        choice = self.tool_choice.type if self.tool_choice else None
        thinking = self.thinking.type if self.thinking else None
        return Expected(
            model="" if self.fallbacks or self.fallback_credit_token else self.model,
            # The provider's tools have the model sample several times, each time up to the limit.
            max_tokens=None if provided else self.max_tokens,
            tools=None if provided else frozenset(tool.name for tool in self.tools or ()),
            forced=choice in ("any", "tool"),
            stop_sequences=frozenset(self.stop_sequences or ()),
            may_think=thinking not in (None, "disabled") if _THINKS_ON_REQUEST.match(self.model) else True,
        )


class _Written(msgspec.Struct):
    """The parameters that are compared, as they are written: one of them may be of more values than memory holds."""

    model: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    tool_choice: msgspec.Raw = msgspec.Raw()
    stop_sequences: msgspec.Raw = msgspec.Raw()
    thinking: msgspec.Raw = msgspec.Raw()
    mcp_servers: msgspec.Raw = msgspec.Raw()
    container: msgspec.Raw = msgspec.Raw()
    fallbacks: msgspec.Raw = msgspec.Raw()
    fallback_credit_token: msgspec.Raw = msgspec.Raw()


class _Request(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


class _Block(msgspec.Struct):
    type: str | None = None
    name: str | None = None


class _Usage(msgspec.Struct):
    output_tokens: int | None = None
    iterations: list[Any] | None = None
    server_tool_use: Any = None


class _Answer(msgspec.Struct):
    model: str
    content: list[_Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: _Usage | None = None

    @property
    def output_tokens(self) -> int:
        return (self.usage and self.usage.output_tokens) or 0

    @property
    def sampled_repeatedly(self) -> bool:
        return bool(self.usage and (self.usage.iterations or self.usage.server_tool_use))

    def has(self, *types: str) -> bool:
        return any(block.type in types for block in self.content)


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    error: "_Error | None" = None


class _Result(msgspec.Struct):
    type: str
    message: _Answer | None = None
    error: _Error | None = None


class _Line(msgspec.Struct):
    result: _Result


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_written = msgspec.json.Decoder(_Written).decode
_decode_params = msgspec.json.Decoder(_Params).decode
_decode_result = msgspec.json.Decoder(_Line).decode

_UNKNOWN_MODEL = re.compile(r"model: (claude-[\w.@-]+)")
_DATE = re.compile(r"(?:[-@]\d{8}|-latest|-0)$")
_THINKS_ON_REQUEST = re.compile(r"claude-(?:3|(?:haiku|sonnet|opus)-4(?:-|$))")
"""Models of these generations think only where the request says so; later ones may do so by default."""


def _read_request(line: bytes) -> tuple[str, Expected]:
    request = _decode_request(line)
    try:
        if len(line) > LONG_LINE:
            written = msgspec.structs.astuple(_decode_written(request.params))
            if sum(map(len, written)) > LONG_LINE:
                return request.custom_id, ANY
        return request.custom_id, _decode_params(request.params).expected
    except (msgspec.DecodeError, ValueError, RecursionError):
        # The API refuses it, or knows more than this version: any answer may be its own.
        return request.custom_id, ANY


def _may_be(asked: str, answered: str) -> bool:
    """Return whether a model may answer in another's name: an alias is answered by a dated id of the same model.

    A name that is no model's of this version, such as one of a gateway, is not comparable.
    """
    asked, answered = _DATE.sub("", asked), _DATE.sub("", answered)
    return asked == answered or not {asked, answered} <= _known_models()


@cache
def _known_models() -> frozenset[str]:
    return frozenset(_DATE.sub("", name) for name in by_name())
