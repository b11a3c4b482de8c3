"""The summary of results, built line by line and bounded: it goes into the workflow's history."""

from dataclasses import dataclass, field

from message_batches.models import ErrorGroup, ResultCounts, Summary, TokenUsage
from message_batches.results.parser import ResultLine

MAX_GROUPS = 20
MAX_NAME = 100
MAX_MESSAGE = 300
MAX_IDS = 3
OTHER = "other"


@dataclass
class _Group:
    count: int = 0
    first: list[tuple[int, str, str]] = field(default_factory=list)


class SummaryBuilder:
    """Builds a summary; an unknown `result.type` counts as errored, in a group of its own name."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(ResultCounts.model_fields, 0)
        self._groups: dict[str, _Group] = {}
        self._tokens: dict[str, list[int]] = {}

    def add(self, result: ResultLine, position: int) -> None:
        """Add a result; `position` is its place in the order of the requests."""
        if result.type == "succeeded":
            self._counts["succeeded"] += 1
        elif result.type in ("canceled", "expired"):
            self._counts[result.type] += 1
        else:
            self._counts["errored"] += 1
            kind, message = result.error or ("unknown", "")
            if result.type != "errored":
                kind, message = f"result type {result.type!r}", "this version does not know this type of result"
            self._add_error(kind, (position, result.custom_id[:MAX_NAME], message[:MAX_MESSAGE]))
        if result.model or any(result.tokens):
            sums = self._tokens.get(result.model) or self._sums_of(result.model)
            for index in range(4):
                sums[index] += result.tokens[index]

    def build(self) -> Summary:
        """Build the summary of the results so far."""
        groups = sorted(self._groups.items(), key=lambda item: (-item[1].count, item[0]))
        return Summary(
            counts=ResultCounts(**self._counts),
            errors=tuple(
                ErrorGroup(
                    type=kind,
                    count=group.count,
                    message=group.first[0][2],
                    custom_ids=tuple(custom_id for _, custom_id, _ in group.first),
                )
                for kind, group in groups
            ),
            tokens={
                model: TokenUsage(input=sums[0], output=sums[1], cache_write=sums[2], cache_read=sums[3])
                for model, sums in sorted(self._tokens.items())
            },
        )

    def _sums_of(self, model: str) -> list[int]:
        model = model[:MAX_NAME] or "unknown"
        if model not in self._tokens and len(self._tokens) >= MAX_GROUPS:
            model = OTHER
        return self._tokens.setdefault(model, [0, 0, 0, 0])

    def _add_error(self, kind: str, example: tuple[int, str, str]) -> None:
        kind = kind[:MAX_NAME]
        if kind not in self._groups and len(self._groups) >= MAX_GROUPS:
            kind = OTHER
        group = self._groups.setdefault(kind, _Group())
        group.count += 1
        # Results come in any order; the examples are the first in the order of the requests.
        if len(group.first) < MAX_IDS or example < group.first[-1]:
            group.first = sorted([*group.first, example])[:MAX_IDS]
