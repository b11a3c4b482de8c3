"""The address of requests that names the time of a run."""

from datetime import UTC, datetime

import pytest

from message_batches.errors import InvalidRequests
from message_batches.uri_template import fill, has_placeholders, zone_of

LATE = datetime(2026, 11, 27, 23, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("uri", "zone", "filled"),
    [
        ("s3://b/{date}.jsonl", "UTC", "s3://b/2026-11-27.jsonl"),
        ("s3://b/{date}.jsonl", "Europe/Berlin", "s3://b/2026-11-28.jsonl"),
        ("s3://b/{date}.jsonl", "America/New_York", "s3://b/2026-11-27.jsonl"),
        ("s3://b/{year}/{month}/{day}/{hour}-{minute}.jsonl", "Asia/Kolkata", "s3://b/2026/11/28/04-35.jsonl"),
        ("file:///store/{date}/{date}.jsonl", "UTC", "file:///store/2026-11-27/2026-11-27.jsonl"),
        ("s3://b/plain.jsonl", "UTC", "s3://b/plain.jsonl"),
    ],
)
def test_the_time_is_written_in_the_time_zone(uri: str, zone: str, filled: str) -> None:
    assert fill(uri, LATE, zone) == filled
    assert has_placeholders(uri) == (uri != filled)


def test_a_change_of_the_clocks_is_that_of_the_time_zone() -> None:
    summer, winter = datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 22, tzinfo=UTC)

    assert [fill("{date} {hour}", time, "Europe/Berlin") for time in (summer, winter)] == [
        "2026-10-25 00",
        "2026-10-25 23",
    ]


@pytest.mark.parametrize("uri", ["{week}", "{}", "{Date}", "{date }", "{0.__class__}", "{date!r}"])
def test_a_placeholder_that_there_is_none_of_is_named(uri: str) -> None:
    with pytest.raises(InvalidRequests, match="is none of "):
        fill(f"s3://b/{uri}", LATE, "UTC")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/localtime", "x" * 5000, "a\0b"])
def test_a_time_zone_that_there_is_none_of_is_refused(zone: str) -> None:
    with pytest.raises(InvalidRequests, match="no time zone"):
        zone_of(zone)
