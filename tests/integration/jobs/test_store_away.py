"""A store that vanishes in the middle of a job, and comes back: the job waits, says why, and buys nothing twice."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from message_batches.emulator import Emulator
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import command_line
from tests.harness.requests import fresh
from tests.harness.running_jobs import merged_ids, sent, start_job
from tests.harness.stack import Stack
from tests.harness.waiting import eventually
from tests.integration.test_store_gone import Vanishing, worker

A_WHILE = 3
"""Seconds for which the store stays away once the job has said so."""


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        pytest.param("before_read", r"given\.jsonl", id="planning", marks=pytest.mark.slow),
        pytest.param("after_write", r"manifests/", id="while its shards are put", marks=pytest.mark.slow),
        pytest.param("after_write", r"jobs/.*/0\.plan", id="planned", marks=pytest.mark.slow),
        pytest.param("after_write", r"jobs/.*/0-0\.json", id="window", marks=pytest.mark.slow),
        pytest.param("before_read", r"jobs/.*/1\.plan", id="planning a wave", marks=pytest.mark.slow),
        pytest.param("after_write", r"jobs/.*/1\.plan", id="wave", marks=pytest.mark.slow),
        pytest.param("before_read", r"jobs/.*/[0-9a-f]{64}\.json", id="merging", marks=pytest.mark.slow),
        pytest.param("after_write", r"jobs/.*\.jsonl", id="merged", marks=pytest.mark.slow),
    ],
)
async def test_a_job_waits_for_a_store_that_is_gone(
    moment: str, name: str, temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    root.mkdir()
    store = Vanishing(None, root.as_uri(), root)
    await store.identity()
    stack = Stack(temporal.client, emulator, root.as_uri())
    starter = command_line(tmp_path / "user", temporal, root.as_uri(), stack.task_queue)
    given = fresh(4)
    (root / "given.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in given))
    emulator.faults.add("outcome", operation="create", times=1, custom_id="request-0001")
    setattr(store, moment, name)
    async with worker(stack, store):
        job = await start_job(stack, requests_uri=store.uri("given.jsonl"), waves=1, concurrency=1)
        await eventually(store.moved.exists, "a store that is gone")

        async def waits() -> int:
            shown = (await starter("status", job.id, "--json")).json["obstacles"]
            return max((each["attempt"] for each in shown if "is gone" in each["failure"]), default=0)

        await eventually(waits, "a job that names its store")
        events = (await job.describe()).history_length
        await asyncio.sleep(A_WHILE)
        attempts, later = await waits(), (await job.describe()).history_length
        assert not root.exists(), "a new store was made in its place"
        store.come_back()
        output = await job.result()

    # It does not decide anything meanwhile, and waits longer before each attempt.
    assert later - events <= 6
    assert 1 < attempts <= 6
    assert output.verified
    assert output.failed_shard_count == 0
    assert merged_ids(output) == [each["custom_id"] for each in given]
    assert sent(stack) == Counter([each["custom_id"] for each in given]) + Counter(["request-0001"])
