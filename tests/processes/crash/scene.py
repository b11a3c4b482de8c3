"""The scene of a crash test: one run, its emulator and store, and worker processes that start and end."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from message_batches.contract import WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.emulator.call_log import Call
from message_batches.models import BatchInput, BatchOutput, PollSchedule, Progress, RetrySchedule, SubmissionSchedule
from tests.harness.histories import histories
from tests.harness.processes import TemporalProcess, WorkerProcess, settings
from tests.harness.requests import requests
from tests.harness.stack import QUICK_SUBMISSION
from tests.harness.waiting import TIMEOUT, eventually

UNTIL_ENDED = timedelta(hours=1)
"""A processing time that only `Scene.end_batches` ends."""
SOON = timedelta(seconds=0.5)


def more_than_fits_into_sockets() -> list[dict[str, Any]]:
    """Return 24 MB: a body that does not fit into the sockets' buffers while its reader is slow."""
    return requests(2000, "every word of it " * 700)


@dataclass
class Scene:
    """One run and its surroundings: a key, a task queue, an emulator and a store of its own."""

    client: Client
    address: str
    folder: Path
    emulator: Emulator
    key: str
    task_queue: str = field(default_factory=lambda: f"crash-{uuid4()}")
    ids: list[str] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    server: TemporalProcess | None = None
    run: WorkflowHandle[Any, BatchOutput] | None = None

    async def worker(self) -> WorkerProcess:
        """Start one more worker process."""
        worker = await WorkerProcess.begin(
            settings(
                temporal=self.address,
                api=self.emulator.url,
                key=self.key,
                store=self.store.as_uri(),
                task_queue=self.task_queue,
                MESSAGE_BATCHES_SCRATCH=str(self.scratch),
            ),
            self.folder / f"worker-{len(self.workers) + 1}.log",
            self.folder,
        )
        self.workers.append(worker)
        return worker

    async def own_server(self) -> TemporalProcess:
        """Use a Temporal server of this scene's own, on a file, instead of the shared one."""
        self.server = TemporalProcess(self.folder)
        self.client, self.address = await self.server.start(), self.server.address
        return self.server

    async def start(
        self,
        given: Sequence[dict[str, Any]],
        *,
        in_store: bool = False,
        every: timedelta = timedelta(seconds=0.2),
        submission: SubmissionSchedule = QUICK_SUBMISSION,
    ) -> None:
        """Start the run, with its requests inline, or as a file in the store."""
        self.ids = [request["custom_id"] for request in given]
        uri = None
        if in_store:
            file = self.store / "given.jsonl"
            file.write_text("".join(f"{json.dumps(request)}\n" for request in given))
            uri = file.as_uri()
        self.run = await self.client.start_workflow(
            WORKFLOW_TYPE,
            BatchInput(
                requests=None if in_store else list(given),
                requests_uri=uri,
                poll=PollSchedule(
                    retry_after=every, transient=RetrySchedule(retry_after=timedelta(seconds=0.2), retry_limit=50)
                ),
                submission=submission,
            ),
            id=f"crash-{uuid4()}",
            task_queue=self.task_queue,
            result_type=BatchOutput,
        )

    def end_batches(self) -> None:
        """End the batches that are in processing."""
        self.emulator.clock.advance(UNTIL_ENDED)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def calls(self, operation: str) -> list[Call]:
        """Return the calls of that operation that the emulator received, in order."""
        return [call for call in self.emulator.calls if call.operation == operation]

    async def under_way(self, operation: str) -> None:
        """Wait until a slow call of that operation has arrived at the emulator, and is not answered yet."""
        await eventually(
            lambda: any("slow" in call.faults for call in self.calls(operation)), f"a {operation} under way"
        )

    async def progress(self) -> Progress:
        """Return the run's own progress; a live worker is needed."""
        progress: Progress = await self.handle.query("progress", result_type=Progress)
        return progress

    async def waiting(self) -> None:
        """Wait until the batch has been polled and the timer of the next poll runs."""

        async def holds() -> bool:
            progress = await self.progress()
            return progress.polls > 0 and progress.next_poll is not None

        await eventually(holds, "a run that waits for its next poll")

    async def recorded(self, kind: EventType.ValueType) -> None:
        """Wait until the run's history has an event of that kind."""

        async def holds() -> bool:
            return any(event.event_type == kind for each in await self.histories() for event in each.events)

        await eventually(holds, f"{EventType.Name(kind)} in the history")

    async def attempts(self, activity: str, number: int) -> None:
        """Wait until an attempt of an activity has begun, and the server has had a heartbeat of it."""

        async def holds() -> bool:
            pending = (await self.handle.describe()).raw_description.pending_activities
            return any(
                each.activity_type.name == activity
                and each.attempt == number
                and each.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
                and each.last_heartbeat_time.ToDatetime() > each.last_started_time.ToDatetime()
                for each in pending
            )

        await eventually(holds, f"attempt {number} of {activity}")

    async def histories(self) -> list[WorkflowHistory]:
        return await histories(self.client, self.handle)

    @property
    def handle(self) -> WorkflowHandle[Any, BatchOutput]:
        assert self.run, "start the run first"
        return self.run

    async def finishes_with_one_batch(self) -> BatchOutput:
        """Check that the run returns complete results of the only batch, and leaves no key and no files."""
        async with asyncio.timeout(2 * TIMEOUT):
            output = await self.handle.result()
        assert [batch.id for batch in self.emulator.batches] == [output.batch_id]
        assert output.possibly_paid_twice == ()
        assert output.verified
        assert output.summary.counts.succeeded == len(self.ids)
        self._results_are_complete(output)
        (claim,) = self.store.glob(f"claims/*/{output.batch_id}.json")
        assert json.loads(claim.read_bytes())["owner"] == self.handle.id
        assert list(self.scratch.iterdir()) == []
        await self._key_is_nowhere()
        return output

    def _results_are_complete(self, output: BatchOutput) -> None:
        file = output.results_file
        data = Path(file.uri.removeprefix("file://")).read_bytes()
        assert [json.loads(line)["custom_id"] for line in data.splitlines()] == self.ids
        assert (file.bytes, file.lines) == (len(data), len(self.ids))
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        assert len(list(self.store.glob(f"results/*/{output.batch_id}/*.jsonl"))) == 1

    async def _key_is_nowhere(self) -> None:
        for history in await self.histories():
            assert self.key not in history.to_json()
        for worker in self.workers:
            assert self.key not in worker.output
        for path in self.store.rglob("*.json"):
            assert self.key not in path.read_text()

    def report(self) -> str:
        """Return the information for a failed test."""
        calls = "\n".join(f"  {call.method} {call.path} {call.status} {call.faults}" for call in self.emulator.calls)
        logs = "\n".join(f"--- {worker.log.name}\n{worker.output[-5000:]}" for worker in self.workers)
        batches = [batch.id for batch in self.emulator.batches]
        return f"run {self.run and self.run.id}\nbatches {batches}\ncalls\n{calls[-3000:]}\n{logs}"

    async def clear(self) -> None:
        """End all processes, whatever their state."""
        for worker in self.workers:
            await worker.kill()
        if self.server:
            await self.server.kill()


@asynccontextmanager
async def scene(client: Client, address: str, folder: Path, **options: Any) -> AsyncIterator[Scene]:
    """Create a scene with only the emulator running; its report is added to a failed assertion."""
    key = f"sk-ant-crash-{uuid4()}"
    (folder / "store").mkdir()
    (folder / "scratch").mkdir()
    async with Emulator(EmulatorOptions(**{"processing_time": SOON, **options}, api_keys=(key,))) as emulator:
        made = Scene(client, address, folder, emulator, key)
        try:
            yield made
        except Exception as error:
            error.add_note(made.report())
            raise
        finally:
            await made.clear()
