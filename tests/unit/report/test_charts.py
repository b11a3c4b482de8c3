"""The geometry of the charts: everything is on the axis, whatever the numbers are."""

from datetime import UTC, datetime, timedelta

import pytest

from message_batches.report.charts import MAX_BINS, Histogram, Lengths, stacked, time_bar

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def chart(lengths: list[int], limits: dict[int, int] | None = None, cut: int = 0) -> Histogram:
    counted = Lengths()
    for length in lengths:
        counted.add(length, cut=length == cut)
    made = counted.histogram(limits)
    assert made
    return made


@pytest.mark.parametrize(
    "lengths", [[1], [1, 2, 3, 4], [7, 900], [256] * 9, [1, 2**53], list(range(1, 3000, 7)), [40, 64, 64, 100]]
)
@pytest.mark.parametrize("limits", [None, {40: 3, 64: 9, 1024: 1, 9_999_999: 1}, {2**53: 1}])
def test_every_reply_is_in_a_bar_and_every_bar_on_the_axis(lengths: list[int], limits: dict[int, int] | None) -> None:
    made = chart(lengths, limits)

    assert sum(bar.count for bar in made.bars) == len(lengths)
    assert len(made.bars) <= MAX_BINS
    assert max(bar.height for bar in made.bars) == 100
    assert all(bar.x >= -0.01 and bar.x + bar.width <= 100.01 for bar in made.bars)
    assert all(-0.01 <= mark.x <= 100.01 for mark in (*made.lines, *made.ticks))
    assert all(any(bar.low < length <= bar.high for bar in made.bars) for length in lengths)
    assert 1 <= len(made.ticks) <= 8


def test_replies_as_long_as_allowed_are_left_of_the_line() -> None:
    made = chart([256, 256, 100], {256: 3}, cut=256)

    (line,) = made.lines
    bar = made.bars[-1]
    assert (bar.count, bar.cut, bar.high) == (2, 2, 256)
    assert line.x == pytest.approx(bar.x + bar.width)
    assert line.label == "256"


def test_limits_far_above_the_replies_are_counted_not_drawn() -> None:
    made = chart([50, 60], {64: 1, 1_000_000: 2})

    assert [line.label for line in made.lines] == ["64"]
    assert made.beyond == 1


def test_labels_of_near_lines_are_not_written_over_each_other() -> None:
    made = chart([400], {400: 3, 410: 1, 420: 1})

    assert [line.label for line in made.lines] == ["400", "", ""]


def test_replies_without_a_token_have_no_bar() -> None:
    counted = Lengths()
    counted.add(0)

    assert counted.histogram() is None
    assert (counted.empty, counted.replies) == (1, 1)


def test_the_parts_of_a_bar_fill_it_without_the_empty_ones() -> None:
    parts = stacked({"a": 1, "b": 0, "c": 3})

    assert [(part.name, part.x, part.width) for part in parts] == [("a", 0, 25), ("c", 25, 75)]
    assert stacked({"a": 0}) == ()


def test_a_span_of_time_has_its_parts_and_marks() -> None:
    moments = {"submit": NOON, "process": NOON + timedelta(minutes=1), "land": None, "end": NOON + timedelta(minutes=4)}
    made = time_bar(moments, [NOON + timedelta(minutes=2), NOON - timedelta(days=1)])

    assert made
    assert [(part.name, part.x, part.width) for part in made.parts] == [("submit", 0, 25), ("process", 25, 75)]
    assert made.ticks == (50,)
    assert made.span == timedelta(minutes=4)


def test_a_clock_that_is_behind_makes_no_part_negative() -> None:
    made = time_bar({"a": NOON, "b": NOON - timedelta(hours=1), "c": NOON + timedelta(hours=1)}, [])

    assert made
    assert all(part.width > 0 and part.x >= 0 and part.x + part.width <= 100.01 for part in made.parts)


@pytest.mark.parametrize("moments", [{}, {"a": NOON}, {"a": NOON, "b": None}, {"a": NOON, "b": NOON}])
def test_less_than_a_span_has_no_bar(moments: dict[str, datetime | None]) -> None:
    assert time_bar(moments, []) is None


def test_of_many_marks_some_are_left_out() -> None:
    ticks = [NOON + timedelta(seconds=second) for second in range(3000)]
    made = time_bar({"a": NOON, "b": NOON + timedelta(hours=1)}, ticks)

    assert made
    assert 100 <= len(made.ticks) <= 200
