"""The deadline of a POST: nothing of the body is handed out after it, and it is known whether all of it was."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from activities.batch import MAX_UPLOADS, SMALL_BODY
from activities.upload import Upload
from message_batches.errors import NotSent
from message_batches.models import SubmissionSchedule
from tests.rig import Rig, requests

PARTS = [b"head,", b"body,", b"tail"]
LENGTH = sum(map(len, PARTS))


async def parts() -> AsyncIterator[bytes]:
    for part in PARTS:
        yield part


def upload(*, started: datetime, timeout: timedelta) -> Upload:
    return Upload(parts(), LENGTH, started=started, timeout=timeout)


async def test_a_body_in_time_is_handed_out_whole_and_complete_only_with_its_last_part() -> None:
    sending = upload(started=datetime.now(UTC), timeout=timedelta(minutes=1))

    complete = []
    async for _ in sending.chunks():
        complete.append(sending.complete)

    assert complete == [False, False, True]


async def test_a_deadline_by_the_servers_clock_stops_the_body_before_its_first_part() -> None:
    late = upload(started=datetime.now(UTC) - timedelta(minutes=2), timeout=timedelta(minutes=1))

    with pytest.raises(NotSent, match="clock"):
        assert [part async for part in late.chunks()] == []

    assert not late.complete
    assert late.time_left() == 0


async def test_a_worker_that_wakes_up_after_the_deadline_hands_out_no_further_part() -> None:
    # A clock that is behind the server's: only the time that passed in this process tells.
    frozen = upload(started=datetime.now(UTC) + timedelta(hours=1), timeout=timedelta(seconds=0.05))
    sending = frozen.chunks()
    assert await anext(sending) == PARTS[0]

    while frozen.time_left():
        pass

    with pytest.raises(NotSent):
        await anext(sending)
    assert not frozen.complete


async def test_more_large_uploads_than_there_are_slots_wait_and_are_not_taken_for_lost(live: Rig) -> None:
    live.emulator.faults.add("slow", operation="create", seconds=4, times=MAX_UPLOADS)
    live.store_folder.mkdir(exist_ok=True)
    padded = "x" * (SMALL_BODY // 2)
    runs = []
    for number in range(MAX_UPLOADS + 1):
        lines = [json.dumps(item).encode() for item in requests(3, f"{padded} {number}")]
        name = f"mine-{number}.jsonl"
        live.store_folder.joinpath(name).write_bytes(b"\n".join(lines))
        quick = SubmissionSchedule(timeout=timedelta(seconds=6), quiet_period=timedelta(minutes=5))
        runs.append(await live.start(requests_uri=f"{live.store_url}/{name}", submission=quick))

    outputs = [await run.result() for run in runs]

    assert len({output.batch_id for output in outputs}) == len(live.emulator.batches) == MAX_UPLOADS + 1
