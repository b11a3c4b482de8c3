"""The geometry of the charts: places and widths in percent, so that a chart is as wide as its page."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

_FINE = 4
"""Bins of an octave, the finest."""

MAX_BINS = 28
MAX_LINES = 6
_BEYOND = 3
"""Octaves above the longest reply up to which a limit is on the axis."""

_LABEL = 13.0
"""Percent of the width that a label takes on a small screen."""


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram: replies of more than `low` and up to `high` tokens, of which some were cut off."""

    x: float
    width: float
    height: float
    cut_height: float
    low: int
    high: int
    count: int
    cut: int


@dataclass(frozen=True)
class Mark:
    """A place on an axis, with its label; without one where there is no room."""

    x: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """The replies by their length, on an axis whose steps double.

    Attributes:
        lines: the requests' limits on that axis.
        beyond: the limits above it.
        empty: replies without a token, which have no place on it.
        most: the replies of the highest bar.
    """

    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    lines: tuple[Mark, ...]
    beyond: int
    empty: int
    most: int


class Lengths:
    """Counts replies by their number of output tokens, in bins whose number is bounded."""

    def __init__(self) -> None:
        self._all: Counter[int] = Counter()
        self._cut: Counter[int] = Counter()
        self.empty = 0
        self.replies = 0
        self.tokens = 0

    def add(self, tokens: int, *, cut: bool = False) -> None:
        """Count a reply."""
        self.replies += 1
        self.tokens += tokens
        if tokens < 1:
            self.empty += 1
            return
        self._all[_bin(tokens)] += 1
        if cut:
            self._cut[_bin(tokens)] += 1

    def histogram(self, limits: Mapping[int, int] | None = None) -> Histogram | None:
        """Return the chart; None without a reply that has a token.

        Args:
            limits: how many requests have a `max_tokens`.
        """
        if not self._all:
            return None
        first, last = min(self._all), max(self._all)
        on_axis = sorted(limit for limit in limits or () if first <= _bin(limit) <= last + _BEYOND * _FINE)
        shown = sorted(sorted(on_axis, key=lambda limit: -(limits or {})[limit])[:MAX_LINES])
        last = max(last, *map(_bin, shown), first + 2 * _FINE)
        # Below eight there are fewer numbers than fine bins.
        step = 2 if first <= 3 * _FINE else 1
        while last // step - first // step + 3 > MAX_BINS:
            step *= 2
        low, high = math.ceil(first / step) - 2, math.ceil(last / step)
        grouped, cut = _grouped(self._all, step), _grouped(self._cut, step)
        most = max(grouped.values())
        width = 100 / (high - low)

        def place(tokens: int) -> float:
            return (math.log2(tokens) * _FINE / step - low) * width

        octaves = range(math.ceil(low * step / _FINE), math.floor(high * step / _FINE) + 1)
        every = max(1, math.ceil(len(octaves) / 6))
        return Histogram(
            bars=tuple(
                Bar(
                    x=(number - 1 - low) * width,
                    width=width,
                    height=100 * count / most,
                    cut_height=100 * cut[number] / most,
                    low=math.floor(2 ** ((number - 1) * step / _FINE)),
                    high=math.floor(2 ** (number * step / _FINE)),
                    count=count,
                    cut=cut[number],
                )
                for number, count in sorted(grouped.items())
            ),
            ticks=tuple(Mark(place(2**octave), _short(2**octave)) for octave in octaves[::every] if octave >= 0),
            lines=_with_room([Mark(place(limit), f"{limit:,}") for limit in shown]),
            beyond=sum(1 for limit in limits or () if limit not in on_axis),
            empty=self.empty,
            most=most,
        )


def _bin(tokens: int) -> int:
    return math.ceil(round(math.log2(tokens) * _FINE, 9))


def _grouped(bins: Counter[int], step: int) -> Counter[int]:
    grouped: Counter[int] = Counter()
    for number, count in bins.items():
        grouped[math.ceil(number / step)] += count
    return grouped


def _with_room(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Return the marks, without the labels that would be written over another one."""
    labelled, last = [], -_LABEL
    for mark in marks:
        fits = mark.x - last >= _LABEL
        labelled.append(mark if fits else Mark(mark.x, ""))
        last = mark.x if fits else last
    return tuple(labelled)


def _short(number: int) -> str:
    for size, unit in ((2**30, "G"), (2**20, "M"), (2**10, "k")):
        if number >= size:
            return f"{number // size:,}{unit}"
    return str(number)


@dataclass(frozen=True)
class Part:
    """A part of a bar."""

    name: str
    x: float
    width: float


def stacked(parts: Mapping[str, float], total: float | None = None) -> tuple[Part, ...]:
    """Return the parts of a bar one after the other, without the empty ones.

    Args:
        parts: their sizes by name.
        total: of the whole width; by default their sum.
    """
    whole = total or sum(parts.values())
    found, x = [], 0.0
    for name, size in parts.items():
        if size > 0 and whole > 0:
            found.append(Part(name, x, 100 * size / whole))
            x += found[-1].width
    return tuple(found)


@dataclass(frozen=True)
class TimeBar:
    """A span of time in parts, and the moments in it."""

    parts: tuple[Part, ...]
    ticks: tuple[float, ...]
    span: timedelta


def time_bar(
    moments: Mapping[str, datetime | None], ticks: Sequence[datetime], most_ticks: int = 200
) -> TimeBar | None:
    """Return the span from the first to the last of the moments that are known; None for fewer than two.

    Args:
        moments: in their order, each with the name of the part that begins with it; a clock that is behind does not
            make a part negative.
        ticks: further moments; of too many some are left out.
        most_ticks: how many are shown.
    """
    known = [(name, moment) for name, moment in moments.items() if moment]
    if len(known) < 2:
        return None
    begin, end = min(moment for _, moment in known), max(moment for _, moment in known)
    span = (end - begin) / timedelta(seconds=1)
    if span <= 0:
        return None
    sizes, latest = {}, begin
    for (name, _), (_, following) in pairwise(known):
        sizes[name] = max(0.0, (following - latest) / timedelta(seconds=1))
        latest = max(latest, following)
    inside = [moment for moment in ticks if begin <= moment <= end]
    shown = inside[:: max(1, math.ceil(len(inside) / most_ticks))]
    places = tuple(100 * ((moment - begin) / timedelta(seconds=1)) / span for moment in shown)
    return TimeBar(stacked(sizes, span), places, end - begin)
