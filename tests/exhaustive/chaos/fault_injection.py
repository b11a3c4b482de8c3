"""Doing the harm of a round: waiting for its moment, acting, undoing it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import httpx
from temporalio.client import (
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError

from message_batches.contract import CANCEL_JOB, PROGRESS
from message_batches.job_models import JobProgress
from tests.exhaustive.chaos.callers import STOPPED, requests_of
from tests.exhaustive.chaos.moments import JOB, SIGNS, Moment
from tests.exhaustive.chaos.plan import Act, Harm, Job
from tests.exhaustive.chaos.proxy import Proxy
from tests.exhaustive.chaos.stores import Bucket, Directory
from tests.exhaustive.chaos.world import World
from tests.harness.processes import WorkerProcess
from tests.harness.temporal_proxy import AnswerFault

FULL = 64 * 1024
"""Most bytes of a file on a full disk: more than a log has, less than results that are not tiny."""
STRANGER = "x"
"""The name in the prompts of another program."""
_LOOK = 0.05
_QUICK_LOOK = 0.002


def _locks() -> dict[Act, asyncio.Lock]:
    locks = {act: asyncio.Lock() for act in Act}
    return locks | {Act.SET_BACK: locks[Act.RESTART]}  # Both stop and start the Temporal server.


@dataclass
class FaultInjection:
    """The harm of one round in progress; `done` names the harms that were done."""

    world: World
    done: list[Harm] = field(default_factory=list)
    _one_at_a_time: dict[Act, asyncio.Lock] = field(default_factory=_locks)
    _acting: set[asyncio.Task[None]] = field(default_factory=set)
    _waiting: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        """Wait for the moments of all harms."""
        self._waiting = [asyncio.create_task(self._do(harm)) for harm in self.world.plan.harms]

    async def end(self) -> None:
        """Cancel the harms whose moment has not come, and undo the others when their time is up."""
        for task in self._waiting:
            if task not in self._acting:
                task.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting)
        for task in self._waiting:
            if not task.cancelled():
                task.result()

    def drop(self) -> None:
        """Leave everything as it is."""
        for task in self._waiting:
            task.cancel()

    async def _do(self, harm: Harm) -> None:
        await self._seen(harm.moment)
        await asyncio.sleep(harm.after)
        task = asyncio.current_task()
        assert task
        self._acting.add(task)
        self.done.append(harm)
        async with self._one_at_a_time[harm.act]:
            await self._act(harm)

    async def _act(self, harm: Harm) -> None:
        match harm.act:
            case Act.KILL:
                await self._kill(harm)
            case Act.FREEZE:
                await self._freeze(harm)
            case Act.RESTART:
                await self.world.temporal.kill()
                await asyncio.sleep(harm.lasts)
                await self.world.temporal.start()
            case Act.FILL:
                await self._fill(harm)
            case Act.CLOSE:
                assert isinstance(self.world.store, Bucket)
                await self._close([self.world.store.proxy], harm)
            case Act.ISOLATE:
                await self._isolate(harm)
            case Act.OUTAGE:
                await self._close([self.world.api_proxy], harm)
            case Act.MISLAY:
                await self._mislay(harm)
            case Act.SET_BACK:
                await self._set_back(harm)
            case Act.LOSE:
                await self._lose(harm)
            case Act.INTRUDE:
                await self._intrude()
            case Act.SPEND:
                await self.world.add_fault({"fault": "spend-limit", "operation": "create", "times": 1})
            case Act.TERMINATE:
                await self._terminate()
            case Act.STRIKE_OUT:
                await self._strike_out()
            case Act.STOP:
                await self._stop()

    async def _seen(self, moment: Moment) -> None:
        sign, world = SIGNS[moment], self.world
        while True:
            if sign.names:
                seen = sign.names(await world.names())
            elif sign.calls:
                seen = sign.calls(await world.ask("calls"))
            else:
                seen = True
            if seen:
                return
            await asyncio.sleep(_QUICK_LOOK if sign.names and not world.plan.in_bucket else _LOOK)

    async def _kill(self, harm: Harm) -> None:
        victims = self._victims(harm)
        for worker in victims:
            await worker.kill()
        await asyncio.sleep(harm.lasts)
        for _ in victims:
            await self.world.add_worker()

    async def _close(self, proxies: Sequence[Proxy], harm: Harm) -> None:
        for proxy in proxies:
            await proxy.close()
        await asyncio.sleep(harm.lasts)
        for proxy in proxies:
            await proxy.open()

    async def _mislay(self, harm: Harm) -> None:
        """Have answers to workers that report not come, come late, or come after the call was carried out twice."""
        answers = self.world.answers
        for method in ("RespondActivityTaskCompleted", "RespondWorkflowTaskCompleted"):
            for fault in AnswerFault:
                answers.add(fault, method, delay=1)
        await asyncio.sleep(harm.lasts)
        answers.clear()

    async def _set_back(self, harm: Harm) -> None:
        """Have Temporal forget what happened from this moment on; it still knows every run."""
        await self.world.all_started.wait()
        temporal = self.world.temporal
        await temporal.kill()
        temporal.back_up()
        await temporal.start()
        await asyncio.sleep(harm.lasts)
        # Workers keep a history in memory that Temporal no longer has, and cannot go on with it.
        workers = self.world.alive
        await asyncio.gather(temporal.kill(), *(worker.kill() for worker in workers))
        temporal.set_back()
        await temporal.start()
        await asyncio.gather(*(self.world.add_worker() for _ in workers))

    async def _lose(self, harm: Harm) -> None:
        assert isinstance(self.world.store, Directory)
        await self.world.all_started.wait()  # Callers put their files into the store.
        async with self.world.starting:  # A worker that starts without it would begin a new one in its place.
            self.world.store.move_away()
            await asyncio.sleep(harm.lasts)
            self.world.store.move_back()

    async def _intrude(self) -> None:
        """Have another program with the same key send batches with the custom_ids of each run, for another model."""
        for run in self.world.plan.runs:
            stranger = replace(run, name=STRANGER, words=5)
            given = [{**each, "params": {**each["params"], "model": "claude-opus-5"}} for each in requests_of(stranger)]
            size = run.shard if isinstance(run, Job) else len(given)
            for first in range(0, len(given), size):
                with suppress(httpx.HTTPError):  # The faults of POSTs strike its own as well.
                    requests, headers = given[first : first + size], {"anthropic-version": "2023-06-01"}
                    await self.world.api.post("/v1/messages/batches", json={"requests": requests}, headers=headers)

    async def _terminate(self) -> None:
        """Terminate the job, whose caller starts it again; it may have ended already."""
        with suppress(RPCError):
            await self.world.client.get_workflow_handle(f"run-{JOB}").terminate()

    async def _stop(self) -> None:
        """Have the job cancel its batches and land what has finished; it may not have begun yet, or have ended."""
        job = self.world.client.get_workflow_handle(f"run-{JOB}")
        for _ in range(20):
            try:
                await job.execute_update(CANCEL_JOB, rpc_timeout=timedelta(seconds=5))
            except (RPCError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError):
                await asyncio.sleep(0.5)
            else:
                self.world.decided.append(STOPPED)
                return

    async def _strike_out(self) -> None:
        """Terminate the run of the shard that was started last, if any is under way."""
        client = self.world.client
        with suppress(RPCError, WorkflowQueryFailedError):
            job = await client.get_workflow_handle(f"run-{JOB}").query(PROGRESS, result_type=JobProgress)
            for shard in job.alive[-1:]:
                await client.get_workflow_handle(shard).terminate()

    async def _isolate(self, harm: Harm) -> None:
        """Cut the workers off from Temporal; they continue with their activities, and cannot report."""
        victims = self._victims(harm)
        closing = asyncio.create_task(self._close([self.world.proxies[worker] for worker in victims], harm))
        if len(victims) == len(self.world.alive):
            await self.world.add_worker()
        await closing

    async def _freeze(self, harm: Harm) -> None:
        victims = self._victims(harm)
        for worker in victims:
            worker.freeze()
        # Another worker must continue the runs while these are frozen.
        if len(victims) == len(self.world.alive):
            await self.world.add_worker()
        await asyncio.sleep(harm.lasts)
        for worker in victims:
            if worker.exit_code is None:
                worker.thaw()

    async def _fill(self, harm: Harm) -> None:
        victims = self.world.alive
        for worker in victims:
            worker.limit_files(FULL)
        await asyncio.sleep(harm.lasts)
        for worker in victims:
            if worker.exit_code is None:
                worker.limit_files(None)

    def _victims(self, harm: Harm) -> Sequence[WorkerProcess]:
        alive = self.world.alive
        return alive if harm.everyone else alive[-1:]
