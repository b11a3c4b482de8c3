"""The deadline of a POST: no part of the body is yielded after it. Attempts that never ended are counted."""

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities.timeouts import MAX_LOST_ATTEMPTS, Upload, heartbeats_counting_lost_attempts
from message_batches.errors import NotSent, ReplyLost, StoreUnavailable, WorkersLost
from tests.harness.waiting import eventually

PARTS = [b"head,", b"body,", b"tail"]
LENGTH = sum(map(len, PARTS))


async def parts() -> AsyncIterator[bytes]:
    for part in PARTS:
        yield part


def upload(*, started: datetime, timeout: timedelta) -> Upload:
    return Upload(parts(), LENGTH, started=started, timeout=timeout)


async def test_a_body_in_time_is_complete_only_with_its_last_chunk() -> None:
    sending = upload(started=datetime.now(UTC), timeout=timedelta(minutes=1))

    complete = []
    async for _ in sending.chunks():
        complete.append(sending.complete)

    assert complete == [False, False, True]


async def test_a_past_deadline_on_the_servers_clock_stops_the_body_before_its_first_chunk() -> None:
    late = upload(started=datetime.now(UTC) - timedelta(minutes=2), timeout=timedelta(minutes=1))

    with pytest.raises(NotSent, match="clock"):
        assert [part async for part in late.chunks()] == []

    assert not late.complete
    assert late.time_left() == 0


async def test_a_worker_that_wakes_up_after_the_deadline_sends_no_further_chunk() -> None:
    # This clock is behind the server's: only the time that passed in this process counts.
    frozen = upload(started=datetime.now(UTC) + timedelta(hours=1), timeout=timedelta(seconds=0.05))
    sending = frozen.chunks()
    assert await anext(sending) == PARTS[0]

    while frozen.time_left():
        pass

    with pytest.raises(NotSent):
        await anext(sending)
    assert not frozen.complete


async def test_a_connection_that_is_lost_during_the_upload_says_how_much_was_to_be_sent() -> None:
    cut = upload(started=datetime.now(UTC), timeout=timedelta(minutes=1))

    async def send() -> None:
        async with cut.deadline():
            await anext(cut.chunks())
            raise ReplyLost("reset")

    with pytest.raises(NotSent, match=f"its {LENGTH} bytes were sent.* reset.* gateway may refuse"):
        await send()


def beating(lost: int) -> tuple[ActivityEnvironment, list[int]]:
    """Return an attempt after so many lost ones, and the heartbeats that it sends."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info, heartbeat_details=[lost], heartbeat_timeout=timedelta(seconds=0.02)
    )
    beats: list[int] = []
    environment.on_heartbeat = beats.append
    return environment, beats


@pytest.mark.parametrize("lost", range(MAX_LOST_ATTEMPTS))
async def test_an_attempt_counts_as_lost_until_it_has_ended(lost: int) -> None:
    environment, beats = beating(lost)

    async def attempt() -> None:
        async with heartbeats_counting_lost_attempts():
            await eventually(lambda: len(beats) >= 3, "heartbeats")
            raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await environment.run(attempt)
    assert beats == [lost + 1] * (len(beats) - 1) + [0]


async def test_after_a_few_lost_attempts_the_work_is_not_begun_again() -> None:
    environment, beats = beating(MAX_LOST_ATTEMPTS)

    async def attempt() -> None:
        async with heartbeats_counting_lost_attempts():
            beats.append(-1)

    with pytest.raises(WorkersLost, match="Nothing was sent"):
        await environment.run(attempt)
    assert beats == []


async def test_an_attempt_that_waits_for_long_does_not_count_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.timeouts.SURVIVED", 0)
    environment, beats = beating(0)

    async def attempt() -> None:
        async with heartbeats_counting_lost_attempts():
            await eventually(lambda: len(beats) >= 3, "heartbeats")

    await environment.run(attempt)
    assert set(beats) == {0}
