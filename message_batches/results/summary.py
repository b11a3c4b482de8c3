"""The summary of results, built line by line and bounded: it goes into the workflow's history."""

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from message_batches.api.redaction import MAX_TEXT, redact
from message_batches.prices import UNKNOWN, PriceList
from message_batches.result_models import BILLED, ErrorGroup, ModelUsage, ResultCounts, StopReason, Summary
from message_batches.results.parser import NOTHING, Counts, ResultLine

MAX_GROUPS = 20
MAX_USAGES = 50
USABLE = frozenset({"end_turn", "tool_use", "stop_sequence"})
"""The stop reasons of a reply that is whole."""
NO_REASON = "none"
MAX_NAME = 100
MAX_MESSAGE = 300
MAX_IDS = 3
OTHER = "other"
OTHER_MESSAGES = "other messages, such as: "

_WORDS = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER = re.compile(r"-?\d[\d_-]*+(?:[A-Za-z]{1,2}\d*+)?")
"""Also with a unit (`6MB`), and a date."""

_GROUPS_OF_DIGITS = re.compile(r"#(?:[.,:]#)+")
_ID = re.compile(
    # What the API numbers: `file_011CNha8iCJcU1wXNR6q4V8w`; but not a version of a tool, such as `bash_20250124`.
    r"[a-z]++_(?!\d{8}$)(?=[^\W\d]*+\d)\w++"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?=[a-z]*\d)[0-9a-f]{16,}"
)


def same_but_for_numbers(message: str, custom_id: str) -> str:
    """Return the message with one sign for each number, the request's own id, and each id that the API gives.

    The name of a model or of a field is a word, also where it is the request's id: another one is another message.
    """
    own = "" if _is_name(custom_id, message) else custom_id

    def replaced(word: re.Match[str]) -> str:
        text = word[0]
        return "#" if text == own or _NUMBER.fullmatch(text) or _ID.fullmatch(text) else text

    return _GROUPS_OF_DIGITS.sub("#", _WORDS.sub(replaced, message))


def _is_name(custom_id: str, message: str) -> bool:
    plain = custom_id.replace("_", "").isalpha()
    return plain or custom_id.startswith("claude-") or f"model: {custom_id}" in message


@dataclass(slots=True)
class _Group:
    count: int = 0
    first: list[tuple[int, str, str]] = field(default_factory=list)
    last: int = sys.maxsize
    """The position of the last example, once there are enough: of what comes after it none is one."""

    def add(self, position: int, custom_id: str, message: str = "") -> None:
        self.count += 1
        # Results come in any order; the examples are the first in the order of the requests.
        if position <= self.last:
            self.first = sorted([*self.first, (position, custom_id, message)])[:MAX_IDS]
            if len(self.first) == MAX_IDS:
                self.last = self.first[-1][0]


class SummaryBuilder:
    """Builds a summary; an unknown `result.type` counts as errored, in a group of its own name.

    Errors are grouped by type and message. Once there are many groups, a type's further messages share one.

    Args:
        prices: know from which input on a model costs more: each request is counted by its own.
        hidden: the secrets of the call, which the summary does not repeat.
    """

    def __init__(self, prices: PriceList, hidden: Sequence[str] = ()) -> None:
        self._prices = prices
        self._hidden = hidden
        self._counts = dict.fromkeys(ResultCounts.model_fields, 0)
        self._groups: dict[tuple[str, str | None], _Group] = {}
        self._stops: dict[tuple[str, str], _Group] = {}
        self._long_context_over: dict[str, float] = {}
        self._usages: dict[tuple[str, str, bool], list[int]] = {}
        self._unanswered = _Group()

    def add(self, result: ResultLine, position: int) -> None:
        """Add a result; `position` is its place in the order of the requests."""
        if result.type == "succeeded":
            self._counts["succeeded"] += 1
            group = self._stops.get((result.stop_reason, result.refusal))
            if group is None:
                group = self._stop_group(result.stop_reason, result.refusal)
            group.add(position, result.custom_id)
            # What was used, where the reply does not say it, has no price, and so the cost is partial: never 0.
            self._add_usage(result.model if result.usage != NOTHING else "", result.inference_geo, result.usage)
        elif result.type in ("canceled", "expired"):
            self._counts[result.type] += 1
            self._unanswered.add(position, result.custom_id)
        else:
            self._counts["errored"] += 1
            kind, message = result.error or ("unknown", "")
            if result.type != "errored":
                kind, message = f"result type {result.type!r}", "this version does not know this type of result"
            self._add_error(kind, (position, result.custom_id, message[:MAX_TEXT]))

    def build(self) -> Summary:
        """Build the summary of the results so far."""
        groups = sorted(self._groups.items(), key=lambda item: (-item[1].count, item[0][0], item[1].first))
        return Summary(
            counts=ResultCounts(**self._counts),
            errors=tuple(self._error_group(kind, message, group) for (kind, message), group in groups),
            usable=sum(group.count for (reason, _), group in self._stops.items() if reason in USABLE),
            stop_reasons=tuple(
                self._stop_reason(reason, category, group)
                for (reason, category), group in sorted(self._stops.items(), key=lambda item: (-item[1].count, item[0]))
            ),
            usage=tuple(
                ModelUsage(
                    model=model,
                    inference_geo=geo or None,
                    long_context=long_context,
                    requests=sums[0],
                    **dict(zip(BILLED, sums[1:], strict=True)),
                )
                for (model, geo, long_context), sums in sorted(self._usages.items())
            ),
            unanswered=tuple(self._said(custom_id, MAX_NAME) for _, custom_id, _ in self._unanswered.first),
        )

    def _stop_reason(self, reason: str, category: str, group: _Group) -> StopReason:
        return StopReason(
            reason=reason,
            category=category or None,
            count=group.count,
            usable=reason in USABLE,
            custom_ids=tuple(self._said(custom_id, MAX_NAME) for _, custom_id, _ in group.first),
        )

    def _error_group(self, kind: str, message: str | None, group: _Group) -> ErrorGroup:
        examples = group.first if message is not None else group.first[:1]
        before = OTHER_MESSAGES if message is None and group.count > 1 else ""
        return ErrorGroup(
            type=self._said(kind, MAX_NAME),
            count=group.count,
            message=f"{before}{self._said(examples[0][2], MAX_MESSAGE)}",
            custom_ids=tuple(self._said(custom_id, MAX_NAME) for _, custom_id, _ in examples),
        )

    def _said(self, text: str, most: int) -> str:
        """Return at most so many characters: cut only once a key is found, however long its spelling is."""
        return redact(text[:MAX_TEXT], self._hidden)[:most]

    def _stop_group(self, reason: str, refusal: str) -> _Group:
        key = self._said(reason, MAX_NAME) or NO_REASON, self._said(refusal, MAX_NAME)
        if key not in self._stops and len(self._stops) >= MAX_GROUPS:
            key = OTHER, ""
        return self._stops.setdefault(key, _Group())

    def _add_usage(self, model: str, geo: str, counts: Counts) -> None:
        over = self._long_context_over.get(model)
        if over is None:
            model = self._model(model)
            over = self._long_context_over[model]
        fresh, output, five, hour, read, searches, fetches = counts
        long_context = fresh + five + hour + read > over
        sums = self._usages.get((model, geo, long_context))
        if sums is None:
            key = model, self._said(geo, MAX_NAME), long_context
            if key not in self._usages and len(self._usages) >= MAX_USAGES:
                key = OTHER, "", False
            sums = self._usages.setdefault(key, [0] * (1 + len(counts)))
        sums[0] += 1
        sums[1] += fresh
        sums[2] += output
        if five or hour or read:
            sums[3] += five
            sums[4] += hour
            sums[5] += read
        if searches or fetches:
            sums[6] += searches
            sums[7] += fetches

    def _model(self, name: str) -> str:
        """Return a model's name as it is shown, once it is known from which input on it costs more."""
        model = self._said(name, MAX_NAME) or UNKNOWN
        if model not in self._long_context_over and len(self._long_context_over) >= MAX_GROUPS:
            model = OTHER
        if model not in self._long_context_over:
            self._long_context_over[model] = self._prices.long_context_over(model) or math.inf
        return model

    def _add_error(self, kind: str, example: tuple[int, str, str]) -> None:
        kind = kind[:MAX_TEXT]
        _, custom_id, message = example
        key: tuple[str, str | None] = (kind, same_but_for_numbers(message[:MAX_MESSAGE], custom_id))
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            types = {kind for kind, message in self._groups if message is None}
            key = (kind if kind in types or len(types) < MAX_GROUPS else OTHER, None)
        self._groups.setdefault(key, _Group()).add(*example)
