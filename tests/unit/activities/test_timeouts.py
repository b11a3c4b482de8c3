"""The deadline of a POST: no part of the body is yielded after it, and it is known whether all of it was."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from activities.timeouts import Upload
from message_batches.errors import NotSent

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
