"""Structured output: each answer is compared with the schema that its request gave for it."""

import json
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple, TypeVar

import msgspec

from message_batches.jsonl import LONG_LINE
from message_batches.results.parser import ResultLine
from message_batches.results.summary import MAX_GROUPS, MAX_IDS, OTHER, USABLE
from message_batches.schemas import MAX_TEXT, Fault, Unchecked, compiled
from message_batches.serialization import ContractModel

CUT_OFF = ("max_tokens", "model_context_window_exceeded")
"""The stop reasons of a reply that ended for want of room."""
MAX_SLOW_OF_SCHEMA = 3
"""Comparisons that do not end in time, after which a schema is given up."""
MAX_SLOW = 60.0
"""Seconds of slow comparisons, after which all are given up: a hundred thousand just in time would be two days."""


class Verdict(Enum):
    """The outcome for one request."""

    NOT_ASKED = auto()
    VALID = auto()
    INVALID = auto()
    CUT_OFF = auto()
    NO_ANSWER = auto()
    UNCHECKED = auto()


class SchemaFailure(ContractModel):
    """The answers that fail in one way.

    Attributes:
        path: where in the answer, as a JSONPath with `[*]` for any place in a list.
        rule: the keyword of the schema; `json` for a text that is not JSON, `tool_use` where the tool was not called.
        message: of the first of them.
        count: the number of answers, each of which may fail in several ways.
        custom_ids: the first three.
    """

    path: str
    rule: str
    message: str
    count: int
    custom_ids: tuple[str, ...]


class UncheckedAnswers(ContractModel):
    """The answers that were not compared for one reason."""

    reason: str
    count: int
    custom_ids: tuple[str, ...]


class SchemaReport(ContractModel):
    """The comparison of a batch's answers with their schemas.

    Attributes:
        asked: the requests that asked for structured output; they are the sum of the next five.
        valid, invalid: the answers that match their schema, and those that do not.
        cut_off: answers that ended for want of room.
        no_answer: the requests that came back without a reply, with a refusal or in a paused turn.
        unchecked: the answers that could not be compared.
        not_json: those of the invalid ones that are not JSON at all.
        failures: by path and rule, most frequent first; past twenty, one has the others.
    """

    batch_id: str | None
    job: str | None = None
    asked: int = 0
    valid: int = 0
    invalid: int = 0
    cut_off: int = 0
    no_answer: int = 0
    unchecked: int = 0
    not_json: int = 0
    failures: tuple[SchemaFailure, ...] = ()
    unchecked_reasons: tuple[UncheckedAnswers, ...] = ()


@dataclass
class _Group:
    message: str
    count: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, custom_id: str) -> None:
        self.count += 1
        if len(self.ids) < MAX_IDS:
            self.ids.append(custom_id)


class SchemaCheck:
    """Compares answers one by one; what it holds is bounded, and the time for slow comparisons is."""

    def __init__(self, max_slow: float = MAX_SLOW) -> None:
        self._max_slow = max_slow
        self._counts = dict.fromkeys(Verdict, 0)
        self._not_json = 0
        self._slow = 0.0
        self._failures: dict[tuple[str, str, str], _Group] = {}
        self._unchecked: dict[str, _Group] = {}

    def add(self, result: ResultLine, line: bytes, request: bytes) -> Verdict:
        """Compare an answer with its request's schema.

        Args:
            result: the fields of `line`.
            line: the result.
            request: the line of its request.
        """
        verdict = self._verdict(result, line, request)
        self._counts[verdict] += 1
        return verdict

    def report(self, batch_id: str | None, job: str | None = None) -> SchemaReport:
        """Return the counts so far."""
        counts = self._counts
        failures = sorted(self._failures.items(), key=lambda item: (-item[1].count, item[0]))
        return SchemaReport(
            batch_id=batch_id,
            job=job,
            asked=sum(count for verdict, count in counts.items() if verdict is not Verdict.NOT_ASKED),
            valid=counts[Verdict.VALID],
            invalid=counts[Verdict.INVALID],
            cut_off=counts[Verdict.CUT_OFF],
            no_answer=counts[Verdict.NO_ANSWER],
            unchecked=counts[Verdict.UNCHECKED],
            not_json=self._not_json,
            failures=tuple(
                SchemaFailure(path=path, rule=rule, message=group.message, count=group.count, custom_ids=group.ids)
                for (path, rule, _), group in failures
            ),
            unchecked_reasons=tuple(
                UncheckedAnswers(reason=reason, count=group.count, custom_ids=tuple(group.ids))
                for reason, group in self._unchecked.items()
            ),
        )

    def _verdict(self, result: ResultLine, line: bytes, request: bytes) -> Verdict:
        try:
            asked = _asked(request)
            if asked is None:
                return Verdict.NOT_ASKED
            if result.stop_reason in CUT_OFF:
                return Verdict.CUT_OFF
            if result.type != "succeeded" or result.stop_reason not in USABLE:
                return Verdict.NO_ANSWER
            faults = self._compare(asked, result, line)
        except Unchecked as reason:
            _add(self._unchecked, str(reason), OTHER, str(reason), result.custom_id)
            return Verdict.UNCHECKED
        if not faults:
            return Verdict.VALID
        self._not_json += any(fault.rule == "json" for fault in faults)
        for key, fault in {fault.key: fault for fault in reversed(faults)}.items():
            _add(self._failures, key, ("", OTHER, ""), fault.message, result.custom_id)
        return Verdict.INVALID

    def _compare(self, asked: "_Asked", result: ResultLine, line: bytes) -> list[Fault]:
        if len(line) > LONG_LINE:
            raise Unchecked("the result is over 1 MiB")
        if self._slow >= self._max_slow:
            raise Unchecked("too many comparisons took too long")
        # Ten times what a comparison takes, which depends on the sizes.
        usual, began = 0.05 + 3e-6 * (len(line) + len(asked.schema)), time.process_time()
        try:
            schema = compiled(asked.schema)
            if schema.slow >= MAX_SLOW_OF_SCHEMA:
                raise Unchecked("comparisons with this schema took too long")
            answers, fault = _answers(asked, result, line)
            return [fault] if fault else [fault for answer in answers for fault in schema.faults(answer)]
        finally:
            took = time.process_time() - began
            self._slow += took if took > usual else 0


_Key = TypeVar("_Key")


def _add(groups: dict[_Key, _Group], key: _Key, other: _Key, message: str, custom_id: str) -> None:
    if key not in groups and len(groups) >= MAX_GROUPS:
        key = other
    groups.setdefault(key, _Group(message)).add(custom_id)


class _Asked(NamedTuple):
    """The structured output that a request asked for.

    Attributes:
        schema: as it is written.
        tool: the name of the tool that the answer has to call; None if its text has to be JSON.
    """

    schema: bytes
    tool: str | None = None


class _Written(msgspec.Struct):
    tools: msgspec.Raw = msgspec.Raw()
    tool_choice: msgspec.Raw = msgspec.Raw()
    output_config: msgspec.Raw = msgspec.Raw()
    output_format: msgspec.Raw = msgspec.Raw()


class _Request(msgspec.Struct):
    params: _Written


class _Tool(msgspec.Struct):
    name: str | None = None
    input_schema: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct):
    type: str | None = None
    name: str | None = None


class _Format(msgspec.Struct):
    type: str | None = None
    schema: msgspec.Raw = msgspec.Raw()


class _OutputConfig(msgspec.Struct):
    format: _Format | None = None


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_tools = msgspec.json.Decoder(list[_Tool] | None).decode
_decode_choice = msgspec.json.Decoder(_Choice | None).decode
_decode_config = msgspec.json.Decoder(_OutputConfig | None).decode
_decode_format = msgspec.json.Decoder(_Format | None).decode


def _asked(request: bytes) -> _Asked | None:
    """Return what a request asked for; None if that is not structured, or of a form that the API refuses."""
    try:
        written = _decode_request(request).params
        if max(map(len, msgspec.structs.astuple(written))) > LONG_LINE:
            raise Unchecked("the schema or the tools are over 1 MiB")
        choice = _decode_choice(written.tool_choice) if written.tool_choice else None
        if choice and choice.type == "tool":
            for tool in _decode_tools(written.tools) or ():
                if tool.name is not None and tool.name == choice.name and tool.input_schema:
                    return _Asked(bytes(tool.input_schema), tool.name)
        config = _decode_config(written.output_config) if written.output_config else None
        form = (config and config.format) or (_decode_format(written.output_format) if written.output_format else None)
        return _Asked(bytes(form.schema)) if form and form.type == "json_schema" and form.schema else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _answers(asked: _Asked, result: ResultLine, line: bytes) -> tuple[list[Any], Fault | None]:
    """Return the JSON values of a reply that have to match the schema, or what is wrong with it before that."""
    blocks = [block for block in _content(line) if isinstance(block, dict)]
    if asked.tool is not None:
        calls = [block.get("input") for block in blocks if block.get("type") == "tool_use"]
        named = [block.get("input") for block in blocks if block.get("name") == asked.tool]
        return (named, None) if calls and named else ([], Fault("$", "tool_use", "the tool was not called"))
    if result.stop_reason == "tool_use":
        raise Unchecked("the reply calls a tool: it is not the answer yet")
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    try:
        return [json.loads(text, parse_constant=_refuse, parse_int=_integer)], None
    except RecursionError:
        raise Unchecked("the answer is nested too deeply") from None
    except ValueError as error:
        return [], Fault("$", "json", f"not JSON: {error}"[:MAX_TEXT])


def _content(line: bytes) -> list[Any]:
    try:
        decoded: Any = json.loads(line.decode(errors="replace"), parse_int=_integer)
    except RecursionError:
        raise Unchecked("the answer is nested too deeply") from None
    for name, kind in (("result", dict), ("message", dict), ("content", list)):
        decoded = decoded.get(name)
        if not isinstance(decoded, kind):
            return []
    return list(decoded)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _integer(digits: str) -> int:
    """Return the number; Python reads no integer of more than 4,300 digits."""
    if len(digits) > 4000:
        raise Unchecked("a number has over 4,000 digits")
    return int(digits)
