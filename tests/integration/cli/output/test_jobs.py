"""The output of the commands for jobs: in every scene, as `tests/golden` has it."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, CommandLine, Ended, command_line
from tests.harness.golden import assert_golden
from tests.harness.requests import fresh, mixed
from tests.harness.stack import Stack
from tests.harness.waiting import eventually
from tests.integration.cli.output.runs import in_both_forms, named
from tests.integration.cli.test_jobs import LOST, SHARDS, landed_shards, started, status_when

ONE = ("--concurrency", "1")
HOUR = ("--shard-requests", "2", "--poll-interval", "1h", "--concurrency", "1")


@pytest.mark.slow
async def test_jobs(forgetful: DevServer, own: Stack, tmp_path: Path) -> None:
    starter = named(command_line(tmp_path / "user", forgetful, own.store_url, own.task_queue))
    faults, clock = own.emulator.faults, own.emulator.clock
    scenes: dict[str, Sequence[Ended] | Ended] = {}

    waiting = await started(starter, fresh(3), *SHARDS, *ONE)
    await status_when(starter, waiting, "alive")
    scenes["status, waiting"] = await starter("status", waiting)
    scenes["results, none yet"] = await starter("results", waiting)
    scenes["results, none landed"] = await starter("results", waiting, "--partial")
    await own.saw("retrieve")
    clock.advance(timedelta(minutes=11))
    await landed_shards(starter, waiting, 1)
    await batches(own, 2)
    scenes["status, one of two"] = await starter("status", waiting)
    scenes["results, partial"] = await starter("results", waiting, "--partial", "-o", "part.jsonl", "--json")
    scenes["resume, not paused"] = await starter("resume", waiting)
    scenes["retry, not ended"] = await starter("retry", waiting)
    scenes["cancelled"] = await starter("cancel", waiting)
    stopped = await started(starter, fresh(3), *HOUR)
    await batches(own, 3)
    scenes["abandoned"] = await starter("cancel", stopped, "--abandon", "--json")

    faults.add("spend-limit", operation="create", times=1)
    paused = await started(starter, fresh(3), *SHARDS, *ONE)
    await status_when(starter, paused, "paused")
    scenes["status, paused"] = await in_both_forms(starter, "status", paused)
    scenes["needing attention, paused"] = await in_both_forms(starter, "list", "--needs-attention")
    scenes["resumed"] = await starter("resume", paused)
    await batches(own, 4)
    await landing(own, starter, paused)

    faults.add("outcome", operation="create", times=1, type="expired", custom_id="request-0001")
    run = await started(starter, fresh(2), *QUICK)
    await landing(own, starter, run)
    landed = await started(starter, mixed(), *SHARDS)
    await landing(own, starter, landed)
    scenes["status, landed"] = await in_both_forms(starter, "status", landed)
    scenes["watch, landed"] = await starter("watch", landed)
    scenes["results"] = await starter("results", landed, "-o", "all.jsonl")
    scenes["results, failed"] = await in_both_forms(starter, "results", landed, "--failed")
    scenes["retry, to be corrected first"] = await starter("retry", landed)
    scenes["resume, complete"] = await starter("resume", paused)

    faults.add("refuse-then-5xx", operation="create")
    partly = await started(starter, fresh(4), *LOST, *ONE)
    await status_when(starter, partly, "failedShards")
    faults.clear()
    await landing(own, starter, partly)
    scenes["status, partly"] = await in_both_forms(starter, "status", partly)
    scenes["needing attention, partly"] = await starter("list", "--needs-attention")
    scenes["resolved"] = await starter("resolve", f"{partly}-0-0", "--submit-again")
    scenes["resumed, ended"] = await starter("resume", partly, "--json")
    await landing(own, starter, partly)
    faults.add("outcome", operation="create", times=2, type="expired", custom_id="request-0001")
    expired = await started(starter, fresh(3), *SHARDS, "--retry-waves", "0")
    await landing(own, starter, expired)
    scenes["status, expired"] = await starter("status", expired)
    scenes["retried"] = [await starter("retry", expired), await starter("retry", run, "--json")]
    await landing(own, starter, expired)
    scenes["no such job"] = await starter("resume", "no-such-job")
    scenes["no limit"] = await starter("retry", landed, "--what", "unusable")

    assert_golden("jobs", scenes, tmp_path)


async def batches(own: Stack, count: int) -> None:
    """Wait until so many batches were created."""
    await eventually(lambda: len(own.emulator.batches) == count, f"{count} batches")


async def landing(own: Stack, starter: CommandLine, job: str) -> None:
    """Let the batches of a job end, as they come, until it has ended."""

    async def ended() -> bool:
        own.emulator.clock.advance(timedelta(minutes=11))
        return bool((await starter("status", job, "--json")).json["status"] == "completed")

    await eventually(ended, "the end of the job")
