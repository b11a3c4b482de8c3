"""Large uploads at the same time."""

import json
from datetime import timedelta

import pytest

from activities.batch import MAX_UPLOADS, SMALL_BODY
from message_batches.models import SubmissionSchedule
from tests.harness.requests import requests
from tests.harness.stack import Stack


@pytest.mark.slow
async def test_large_uploads_beyond_the_slots_wait_and_do_not_count_as_lost(live: Stack) -> None:
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
