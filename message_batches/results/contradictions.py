"""Contradictions: results that cannot be answers to our requests, although they have the same custom_ids.

Ids such as `0`, `1`, `2` are common, so that another program on the same key may use ours. Only what no answer to a
request can have counts: taking our own batch for another's would pay for it twice.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from message_batches.claude_models import by_name
from message_batches.errors import ResultsIncomplete
from message_batches.formatting import plural
from message_batches.jsonl import LONG_LINE, Line, Splitter
from message_batches.results.parser import read_result


class Expected(NamedTuple):
    """The parts of a request that its answer shows again; the defaults of all admit any answer.

    Attributes:
        model: its name; empty if another model may answer.
        max_tokens: the most tokens of the answer; None if they are not comparable.
        tools: the names of its tools; None if the answer may use others, as with the provider's own tools.
        forced: whether the answer has to use one of them.
        single_call: whether the answer may use one tool at most.
        formatted: whether its text has to be JSON, of a schema that was given.
        stop_sequences: the sequences that may end the answer; None if they cannot be read.
        may_think: whether the answer may contain thinking.
    """

    model: str = ""
    max_tokens: int | None = None
    tools: frozenset[str] | None = None
    forced: bool = False
    single_call: bool = False
    formatted: bool = False
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

    def error_contradiction(self, kind: str, message: str) -> str:
        """Describe how an error, which repeats what was asked for, contradicts the request; empty if it does not."""
        if kind == "not_found_error" and (named := _UNKNOWN_MODEL.fullmatch(message)):
            known = self.model and _DATE.sub("", self.model) in _known_models()
            return f"an error on the model {named[1]!r}" if known and not _names(self.model, named[1]) else ""
        above = _ABOVE_LIMIT.match(message) if kind == "invalid_request_error" else None
        if above and self.max_tokens is not None and int(above[1]) != self.max_tokens:
            return f"an error on {above[1]} output tokens, {self.max_tokens:,} were asked for"
        return ""

    def contradiction(self, answer: "_Answer") -> str:
        """Describe the first part of an answer that contradicts the request; empty if none does."""
        called = [block.name for block in answer.content if block.type == "tool_use" and block.name is not None]
        calls = set(called)
        if other := self.model_contradiction(answer.model):
            return other
        if self.max_tokens is not None and not answer.sampled_repeatedly and answer.output_tokens > self.max_tokens:
            return f"{answer.output_tokens:,} output tokens, at most {self.max_tokens:,} were asked for"
        if self._is_cut_off_early(answer):
            return f"it was cut off after {answer.output_tokens:,} output tokens, {self.max_tokens:,} were asked for"
        if self.tools is not None and not calls <= self.tools:
            return f"a call of the tool {min(calls - self.tools)!r}, which was not offered"
        if self.tools is not None and answer.has("server_tool_use", "mcp_tool_use"):
            return "a call of the provider's tool, and none was offered"
        if self.forced and answer.stop_reason == "end_turn" and not calls:
            return "no call of a tool, which was asked for"
        if self.tools is not None and self.single_call and len(called) > 1:
            return f"{len(called):,} calls of tools, one at most was asked for"
        if self._is_of_no_format(answer):
            return "a text that is not JSON, which was asked for"
        ending = answer.stop_sequence
        if self.stop_sequences is not None and ending is not None and ending not in self.stop_sequences:
            return f"it was ended by {ending!r}, which was not asked for"
        if not self.may_think and answer.thinks:
            return "thinking, which was not asked for"
        return ""

    def _is_cut_off_early(self, answer: "_Answer") -> bool:
        """Return whether an answer ended at a smaller `max_tokens` than this request's.

        The API's limit is exact, thinking included; half of it is far from where an answer to this request ends. Not
        compared is what a gateway may have counted or limited in its own way: a model by another name, thinking,
        several samplings, a prompt so long that the context window may have been the limit.
        """
        if self.max_tokens is None or answer.stop_reason != "max_tokens" or answer.sampled_repeatedly:
            return False
        comparable = bool(answer.content) and not answer.thinks and 0 <= answer.prompt_tokens <= _SHORT_PROMPT
        few = 0 < 2 * answer.output_tokens < min(self.max_tokens, _LEAST_LIMIT)
        return comparable and self._is_answered_by_name(answer) and few

    def _is_of_no_format(self, answer: "_Answer") -> bool:
        """Return whether an answer is prose although the model was bound to a schema.

        Not compared is what a gateway may have bound in its own way, and text beside the provider's tools.
        """
        if not self.formatted or self.tools is None or answer.sampled_repeatedly:
            return False
        ended = answer.stop_reason in ("end_turn", "max_tokens")
        return ended and self._is_answered_by_name(answer) and _is_prose(answer.text)

    def _is_answered_by_name(self, answer: "_Answer") -> bool:
        return _DATE.sub("", self.model) in _known_models() and _names(self.model, answer.model)


ANY = Expected()
"""A request of which only the custom_id is compared."""


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
    return expected.error_contradiction(error.type or "", error.message or "") if error else ""


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


_LEAST_LIMIT = 4096
"""Output tokens that every model gives, and every gateway lets through: the oldest models' limit."""

_SHORT_PROMPT = 100_000
"""Tokens of a prompt that leaves every model of the table that much room in its context window."""


class _Block(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    text: msgspec.Raw = msgspec.Raw()


class _Usage(msgspec.Struct):
    output_tokens: int | None = None
    input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_read_input_tokens: Any = None
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

    @property
    def prompt_tokens(self) -> int:
        """The tokens of the prompt, cached or not; -1 where they are not numbers."""
        usage = self.usage or _Usage()
        counts = (usage.input_tokens, usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0)
        return sum(counts) if all(isinstance(count, int) for count in counts) else -1

    @property
    def text(self) -> str:
        """Its text blocks, joined; empty if one of them cannot be read."""
        try:
            return "".join(_decode_text(block.text) for block in self.content if block.type == "text")
        except msgspec.DecodeError:
            return ""

    @property
    def thinks(self) -> bool:
        return self.has("thinking", "redacted_thinking")

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


_decode_result = msgspec.json.Decoder(_Line).decode
_decode_text = msgspec.json.Decoder(str).decode


_UNKNOWN_MODEL = re.compile(r"model: (claude-[\w.@-]+)")
_ABOVE_LIMIT = re.compile(r"max_tokens: (\d{1,12}) > \d{1,12},")
_FAMILY = re.compile(r"claude-(?:\d|.{0,40}(?:opus|sonnet|haiku|fable|mythos|instant))")
_JSON_BEGINNINGS = ("{", "[", '"', "-", "true", "false", "null", *"0123456789")
_DATE = re.compile(r"(?:[-@]\d{8}|-latest|-0)$")


def _may_be(asked: str, answered: str) -> bool:
    """Return whether a model may answer in another's name: an alias is answered by a dated id of the same model.

    A name that is asked for and no model's of this version, such as one of a gateway, is not comparable; one that
    answers is if it is of a family of models: older ones, and newer ones, answer in no other's name.
    """
    if _DATE.sub("", asked) not in _known_models() or _names(asked, answered):
        return True
    return _DATE.sub("", answered) not in _known_models() and not _FAMILY.match(answered)


def _is_prose(text: str) -> bool:
    """Return whether a text, perhaps cut off, cannot be JSON: nothing that JSON begins with begins it."""
    return bool(text := text.strip()) and not text.startswith(_JSON_BEGINNINGS)


def _names(asked: str, answered: str) -> bool:
    """Return whether a name is that of the model that was asked for, perhaps with words of a gateway around it."""
    asked, answered = _DATE.sub("", asked), _DATE.sub("", answered)
    if asked == answered or answered in _known_models():
        return asked == answered
    return Counter(asked.split("-")) <= Counter(re.split(r"[^a-z0-9]", answered.lower()))


@cache
def _known_models() -> frozenset[str]:
    return frozenset(_DATE.sub("", name) for name in by_name())
