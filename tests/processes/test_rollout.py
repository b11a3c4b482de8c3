"""Deploying: two builds side by side, rolling back, and replacing workers one after the other under live runs."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from message_batches.contract import WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchInput, BatchOutput, PollSchedule
from message_batches.settings import Release
from message_batches.temporal.dev_server import PROMPT_TIMERS, DevServer, dev_server, temporal_command
from message_batches.temporal.worker_group import deployment_config
from tests.harness.processes import WorkerProcess, lasting_port, settings
from tests.harness.project import ROOT
from tests.harness.requests import requests
from tests.harness.stack import QUICK_SUBMISSION
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

UNTIL_ENDED = timedelta(hours=1)
KEY = "sk-ant-emulated-0001"
# How soon the server reports that nothing runs on a build any more: by default it checks every few minutes.
PROMPT_DRAINAGE = (
    *("--dynamic-config-value", 'matching.wv.VersionDrainageStatusVisibilityGracePeriod="1s"'),
    *("--dynamic-config-value", 'matching.wv.VersionDrainageStatusRefreshInterval="1s"'),
)


@dataclass
class Deployment:
    """A Temporal server with deployments of its own, an API, and the workers of one store."""

    server: DevServer
    emulator: Emulator
    folder: Path
    workers: list[WorkerProcess] = field(default_factory=list)

    async def worker(self, build: str = "", *options: str) -> WorkerProcess:
        """Start one more worker process, of a build, or of none."""
        configured = settings(
            temporal=self.server.address,
            api=self.emulator.url,
            key=KEY,
            store=(self.folder / "store").as_uri(),
            MESSAGE_BATCHES_BUILD_ID=build,
        )
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = await WorkerProcess.begin(configured, log, self.folder, *options)
        self.workers.append(worker)
        return worker

    async def start(self, name: str, *, every: timedelta = timedelta(seconds=0.3)) -> WorkflowHandle[Any, BatchOutput]:
        """Start a run, whose batch ends only when the test ends it."""
        given = BatchInput(
            requests=requests(3, text=name), poll=PollSchedule(retry_after=every), submission=QUICK_SUBMISSION
        )
        return await self.client.start_workflow(
            WORKFLOW_TYPE, given, id=name, task_queue="message-batches", result_type=BatchOutput
        )

    async def make_current(self, build: str, *options: str) -> None:
        """Make a build current, as docs/upgrading.md says; until the server knows the build, the command fails."""
        named = ("--build-id", build) if build else ("--unversioned",)

        async def done() -> bool:
            return (await self.command("set-current-version", *named, *options, "--yes"))[0] == 0

        await eventually(done, f"build {build!r} as the current one")

    async def drained(self, build: str) -> bool:
        """Return whether the server knows of no run that is on the build."""
        _, answer = await self.command("describe-version", "--build-id", build, "--output", "json")
        drainage: Mapping[str, str] = json.loads(answer).get("drainageInfo") or {}
        return drainage.get("drainageStatus") == "drained"

    async def builds(self, name: str) -> list[str]:
        """Return the build that executed the last step of each run in a chain, the oldest first; "" without one."""
        runs = [run async for run in self.client.list_workflows(f"WorkflowId = '{name}'")]
        found = []
        for run in sorted(runs, key=lambda run: run.start_time):
            history = await self.client.get_workflow_handle(name, run_id=run.run_id).fetch_history()
            done = [e for e in history.events if e.HasField("workflow_task_completed_event_attributes")]
            found += [e.workflow_task_completed_event_attributes.deployment_version.build_id for e in done[-1:]]
        return found

    async def runs_on(self, name: str, build: str) -> None:
        """Wait until a run is on a build."""

        async def holds() -> bool:
            return (await self.builds(name))[-1:] == [build]

        await eventually(holds, f"{name} on build {build!r}")

    @property
    def client(self) -> Client:
        return self.server.client

    async def command(self, command: str, *arguments: str) -> tuple[int | None, str]:
        """Run a command of `temporal worker deployment`; return its exit code and what it printed."""
        temporal = temporal_command()
        assert temporal
        address = ("--address", self.server.address, "--deployment-name", "message-batches")
        process = await asyncio.create_subprocess_exec(
            *(temporal, "worker", "deployment", command, *address, *arguments),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode, (errors if process.returncode else output).decode()


@asynccontextmanager
async def deployed(folder: Path) -> AsyncIterator[Deployment]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(dev_server(extra_args=[*PROMPT_TIMERS, *PROMPT_DRAINAGE]))
        emulator = await stack.enter_async_context(Emulator(EmulatorOptions(processing_time=UNTIL_ENDED)))
        deployment = Deployment(server, emulator, folder)
        try:
            yield deployment
        finally:
            for worker in deployment.workers:
                await worker.kill()


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as running:
        yield running


async def test_a_run_moves_to_the_new_build_and_the_old_one_drains(deployment: Deployment) -> None:
    old = await deployment.worker("1.0")
    await deployment.make_current("1.0")
    run = await deployment.start("moving")
    await deployment.runs_on("moving", "1.0")

    await deployment.worker("1.1")
    await deployment.make_current("1.1")

    await deployment.runs_on("moving", "1.1")
    await eventually(lambda: deployment.drained("1.0"), "an old build on which nothing runs")
    assert await old.terminate() == 0
    deployment.emulator.clock.advance(UNTIL_ENDED)
    assert (await run.result()).request_counts.succeeded == 3
    # One change of build, and no run in the chain began on the old build again.
    assert await deployment.builds("moving") == ["1.0", "1.1"]
    assert len(deployment.emulator.batches) == 1


async def test_a_rollback_takes_the_runs_back(deployment: Deployment) -> None:
    await deployment.worker("1.0")
    bad = await deployment.worker("1.1")
    await deployment.make_current("1.1")
    run = await deployment.start("rolled-back")
    await deployment.runs_on("rolled-back", "1.1")

    await deployment.make_current("1.0")

    await deployment.runs_on("rolled-back", "1.0")
    assert await bad.terminate() == 0
    deployment.emulator.clock.advance(UNTIL_ENDED)
    assert (await run.result()).request_counts.succeeded == 3


@workflow.defn(name=WORKFLOW_TYPE, sandboxed=False)
class Older:
    """The workflow of a build that has no task queue for calls, as 0.2.0."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""


async def test_a_build_with_fewer_task_queues_is_made_current_again_only_if_told_so(deployment: Deployment) -> None:
    config = deployment_config(Release(build_id="1.0"))
    async with Worker(deployment.client, task_queue="message-batches", workflows=[Older], deployment_config=config):
        await deployment.make_current("1.0")
        await deployment.worker("1.1")
        await deployment.make_current("1.1")
        await deployment.start("submitted")
        await eventually(
            lambda: deployment.emulator.batches, "a batch, which the newer queue has had the submission of"
        )

        code, why = await deployment.command("set-current-version", "--build-id", "1.0", "--yes")
        await deployment.make_current("1.0", "--ignore-missing-task-queues")

    assert code
    assert "missing active task queues" in why


async def test_runs_of_workers_without_a_build_move_to_the_first_build_and_back(deployment: Deployment) -> None:
    await deployment.worker()
    run = await deployment.start("began-without")
    await deployment.runs_on("began-without", "")

    await deployment.worker("1.0")
    await deployment.make_current("1.0")
    await deployment.runs_on("began-without", "1.0")
    await deployment.make_current("")

    await deployment.runs_on("began-without", "")
    deployment.emulator.clock.advance(UNTIL_ENDED)
    assert (await run.result()).request_counts.succeeded == 3


async def test_a_pinned_run_does_not_continue_as_new(deployment: Deployment) -> None:
    await deployment.worker("1.0")
    await deployment.make_current("1.0")
    await deployment.start("pinned")
    await deployment.runs_on("pinned", "1.0")
    pinned = ("--versioning-override-behavior", "pinned", "--versioning-override-deployment-name", "message-batches")
    process = await asyncio.create_subprocess_exec(
        *(temporal_command() or "", "workflow", "update-options", "--address", deployment.server.address),
        *("--workflow-id", "pinned", *pinned, "--versioning-override-build-id", "1.0"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    await deployment.worker("1.1")
    await deployment.start("free")
    await deployment.runs_on("free", "1.0")

    await deployment.make_current("1.1")

    await deployment.runs_on("free", "1.1")
    assert await deployment.builds("pinned") == ["1.0"]


async def test_a_worker_of_a_build_is_healthy_and_prints_how_it_gets_runs(deployment: Deployment) -> None:
    port = lasting_port()
    worker = await deployment.worker("1.0", "--health", f"127.0.0.1:{port}")

    async def healthy() -> bool:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200

    await eventually(healthy, "a healthy worker")
    assert "set-current-version --deployment-name message-batches --build-id 1.0" in worker.output


async def test_three_workers_replaced_one_after_the_other_lose_and_repeat_nothing(deployment: Deployment) -> None:
    names = [f"live-{number:03}" for number in range(100)]
    workers = [await deployment.worker() for _ in range(3)]
    runs = [await deployment.start(name, every=timedelta(seconds=2)) for name in names[:50]]

    for number, worker in enumerate(workers):
        # Some are being submitted, the others polled.
        others = names[50 + number :: 3]
        starting = [asyncio.create_task(deployment.start(name, every=timedelta(seconds=2))) for name in others]
        assert await worker.terminate() == 0
        await deployment.worker()
        runs += await asyncio.gather(*starting)
    await eventually(lambda: len(deployment.emulator.batches) >= len(names), "a batch of each run")
    deployment.emulator.clock.advance(UNTIL_ENDED)

    outputs = await asyncio.gather(*(run.result() for run in runs))
    calls = Counter(call.operation for call in deployment.emulator.calls)
    assert len({output.batch_id for output in outputs}) == 100
    assert all(output.verified and output.request_counts.succeeded == 3 for output in outputs)
    assert (calls["create"], calls["results"]) == (100, 100)
