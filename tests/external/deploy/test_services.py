"""Harm to the worker's container while a run is under way: one batch, and its results complete."""

import asyncio
import os
import signal
from typing import Any

import psutil
import pytest
from temporalio.client import WorkflowHandle

from message_batches.models import BatchOutput
from tests.external.deploy.deployment import Deployment
from tests.harness.waiting import eventually

pytestmark = pytest.mark.timeout(900)  # The first one makes the images and brings everything up.


async def lands(deployment: Deployment, run: WorkflowHandle[Any, BatchOutput], batches: int) -> None:
    """Have the batch end; its results are landed once, and no other batch was created."""
    await deployment.ends()
    output = await asyncio.wait_for(run.result(), 120)
    assert output.verified
    assert output.request_counts.succeeded == 3
    assert len(await deployment.batches()) == batches + 1
    [landed] = deployment.data.glob(f"store/results/*/{output.batch_id}/*.jsonl")
    assert len(landed.read_text().splitlines()) == 3


async def restarts(deployment: Deployment) -> int:
    return int((await deployment.state("worker"))["RestartCount"])


async def runs_again(deployment: Deployment, before: int) -> None:
    """Wait until the engine has started the worker once more, by itself."""

    async def again() -> bool:
        return await restarts(deployment) > before

    await eventually(again, "a worker that was started again")
    await deployment.up("worker")


async def test_a_killed_worker_is_started_again_and_the_run_goes_on(deployment: Deployment) -> None:
    created, before = len(await deployment.batches()), await restarts(deployment)
    await deployment.hold()
    run = await deployment.begin("killed")

    os.kill((await deployment.state("worker"))["State"]["Pid"], signal.SIGKILL)

    await runs_again(deployment, before)
    await lands(deployment, run, created)


async def test_a_worker_that_runs_out_of_memory_is_started_again_and_the_run_goes_on(deployment: Deployment) -> None:
    created, before = len(await deployment.batches()), await restarts(deployment)
    await deployment.hold()
    run = await deployment.begin("out-of-memory")
    init = psutil.Process((await deployment.state("worker"))["State"]["Pid"])
    used = sum(process.memory_info().rss for process in init.children())

    # What lies in a file system in memory counts, only a process can be killed for it, and a start empties it.
    await deployment.engine("update", f"--memory={used + (16 << 20)}", deployment.container("worker"))
    await deployment.refuses("worker", "dd", "if=/dev/zero", "of=/tmp/filled", "bs=1M", "count=60")

    await runs_again(deployment, before)
    assert (await deployment.inside("worker", "ls", "/tmp")).strip() == ""
    await lands(deployment, run, created)


async def test_a_worker_that_is_stopped_while_it_lands_lands_within_its_grace_period(deployment: Deployment) -> None:
    created = len(await deployment.batches())
    run = await deployment.begin("stopped")
    landed = len(list(deployment.data.glob("store/results/*/*/*.jsonl")))
    downloads = await deployment.calls("/results")
    # Some seconds for the results: less than what a worker gives to what is under way.
    await deployment.ends(fault="slow", operation="results", bytes_per_second=300)

    async def downloading() -> bool:
        return await deployment.calls("/results") > downloads

    await eventually(downloading, "a landing under way")
    await deployment("docker compose stop worker")
    assert len(list(deployment.data.glob("store/results/*/*/*.jsonl"))) == landed + 1
    stopped = (await deployment.state("worker"))["State"]
    await deployment("docker compose start worker")

    assert stopped["ExitCode"] == 0
    assert not stopped["OOMKilled"]
    await deployment.up("worker")
    await lands(deployment, run, created)


async def test_a_worker_that_is_paused_past_its_timeouts_goes_on(deployment: Deployment) -> None:
    created = len(await deployment.batches())
    await deployment.hold()
    run = await deployment.begin("paused")

    await deployment.engine("pause", deployment.container("worker"))
    # A poll has 10 seconds, as has a workflow task.
    await asyncio.sleep(12)
    await deployment.engine("unpause", deployment.container("worker"))

    await lands(deployment, run, created)
    assert any(
        event.HasField("workflow_task_timed_out_event_attributes")
        or event.activity_task_started_event_attributes.attempt > 1
        for event in (await run.fetch_history()).events
    )


async def test_a_worker_that_is_cut_off_from_its_network_goes_on_when_it_is_back(deployment: Deployment) -> None:
    created = len(await deployment.batches())
    await deployment.hold()
    run = await deployment.begin("cut-off")
    network, worker = f"{deployment.name}_default", deployment.container("worker")
    address = (await deployment.state("worker"))["NetworkSettings"]["Networks"][network]["IPAddress"]

    await deployment.engine("network", "disconnect", "--force", network, worker)

    async def unready() -> bool:
        return (await deployment.engine.attempt("healthcheck", "run", worker)).code != 0

    await eventually(unready, "a health check that notices it")
    assert (await deployment.state("worker"))["State"]["Status"] == "running"
    # With the address that it had, as where a cable is plugged in again.
    await deployment.engine("network", "connect", "--alias=worker", f"--ip={address}", network, worker)

    await deployment.up("worker")
    await lands(deployment, run, created)


async def test_sigterm_ends_the_emulator_cleanly_within_its_grace_period(deployment: Deployment) -> None:
    await deployment("docker compose stop emulator")
    state = (await deployment.state("emulator"))["State"]
    await deployment("docker compose start emulator")
    await deployment.up("emulator")

    assert state["ExitCode"] == 0
