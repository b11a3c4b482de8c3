"""Message batches for a Python program that is no workflow: starting, finding and taking over runs."""

import asyncio
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

from temporalio.client import Client

from message_batches.concurrency import run_stoppable
from message_batches.contract import NextAction
from message_batches.errors import InvalidRequests
from message_batches.formatting import plural
from message_batches.job_models import ShardLimits
from message_batches.jobs.files import JobRequests, find_files, read_files, read_items
from message_batches.jobs.start import JobOptions, JobStart, has_plan, start_job
from message_batches.library.batch_run import BatchRun
from message_batches.library.connections import Connections
from message_batches.library.options import RunKeywords, StartKeywords, check_names, of_job, of_run
from message_batches.requests.past_runs import with_past_runs
from message_batches.runs.control import Refused
from message_batches.runs.start import attach_run, start_run
from message_batches.runs.starter import StartOptions, StartResult
from message_batches.settings import Settings
from message_batches.storage.interface import Store

Requests = str | os.PathLike[str] | Iterable[Any] | AsyncIterable[Any]
"""A file of requests, a list of such files, or the requests themselves, as dicts."""


class NotComparable(Refused):
    """The requests of a batch that is followed without them: they can be compared once its results have landed.

    Attributes:
        note: how it is followed.
    """

    def __init__(self, started: StartResult) -> None:
        super().__init__(
            f"{started.note}, and so these cannot be compared before it has landed: wait for its result, then do the "
            "same again. Nothing was started",
            NextAction.WATCH,
            workflow_id=started.workflow_id,
        )
        self.note = started.note


class BatchRuns:
    """The runs and jobs of a Temporal namespace, and their requests and results in a store.

    It needs the settings of the command line: `TEMPORAL_*` and `MESSAGE_BATCHES_*`. The API's keys are the workers'
    alone. `MESSAGE_BATCHES_STORE` is the workers' store, which this process must be able to reach.

    Args:
        client: from `connect()`; by default that is called when it is needed.
        store: the store of the workers, or its URL; by default that of the settings.
        settings: by default those of the environment.

    Example:
        runs = BatchRuns(await connect())
        run = await runs.start(requests)
        async for result in run.results():
            print(result.custom_id, result.text)
    """

    def __init__(
        self, client: Client | None = None, store: Store | str | None = None, *, settings: Settings | None = None
    ) -> None:
        self.connections = Connections(client, store, settings)

    async def start(
        self,
        requests: Requests,
        *,
        again: bool = False,
        workflow_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> BatchRun:
        """Start a run for requests, or continue with what they have: the same content is the same run.

        Requests that are more than one batch takes, or that are to be retried, become a job. Large ones go to the store
        by themselves, and not all of them are held in memory. Nothing waits here for a worker.

        `InvalidRequests` names each problem that would have the API refuse them, and `CostLimitExceeded` says that they
        may cost more than `max_cost`: nothing was sent. `Refused` where it is not known whether they were sent before,
        `NoAnswer` where Temporal does not say whether the run was started: then do the same again, with `again` under
        the `workflow_id` of the error.

        Args:
            requests: a file (JSONL, or a JSON array), a list of files, or the requests as dicts, of any iterable.
            again: send them again, and pay again, in a run of its own.
            workflow_id: of such a run, your own or from a `NoAnswer`: it is one run, however often it is asked for.
                Without it each call is another one, also after a call of which nothing came back.
            options: those of the command `start`, with their names: see `StartKeywords`.

        Example:
            run = await runs.start("requests.jsonl", max_cost="2.50", retry_waves=2)
            print(run.id)
        """
        if workflow_id and not again:
            raise Refused("workflow_id goes with again: the requests themselves name their run", option="workflow_id")
        check_names(options, StartKeywords.__annotations__)
        asked, job = of_run(self.connections.settings, **options), of_job(**options)
        async with self.read(requests, asked, job.limits) as checked:
            retries = bool(options.get("retry_waves"))
            return await self.begin(checked, asked, job, retries=retries, again=again, again_id=workflow_id)

    async def attach(self, batch_id: str, requests: Requests | None = None, **options: Unpack[RunKeywords]) -> BatchRun:
        """Take over a batch that exists, no matter where it was created, and land its results.

        `NotComparable` where a run follows the batch without its requests: these can be compared once it has landed.

        Args:
            batch_id: of the batch.
            requests: those that it holds, with which its results are fully checked.
            options: those of the command `attach`, with their names: see `RunKeywords`.

        Example:
            run = await runs.attach(batch_id, requests)
            print((await run.result()).verified)
        """
        check_names(options, RunKeywords.__annotations__)
        asked = of_run(self.connections.settings, **options)
        if requests is None:
            return await self.take_over(batch_id, asked)
        async with self.read(requests, asked, estimate=False) as checked:
            return await self.take_over(batch_id, asked, checked)

    def get(self, identity: str) -> BatchRun:
        """Return a run or a job by its workflow id, or by its batch's id; nothing is asked before it is used.

        Example:
            run = runs.get(workflow_id)
            print((await run.progress()).status)
        """
        return BatchRun(self.connections, identity)

    @asynccontextmanager
    async def read(
        self, requests: Requests, options: StartOptions, limits: ShardLimits | None = None, *, estimate: bool = True
    ) -> AsyncIterator[JobRequests]:
        """Read and check requests, for `begin` or `take_over`; `InvalidRequests` or `UnreadableFile` if that fails.

        Args:
            requests: as `start` takes them.
            options: of their run, from `of_run()`.
            limits: of each batch.
            estimate: whether to estimate what they may cost.

        Example:
            from message_batches.library.options import of_run

            options = of_run(runs.connections.settings)
            async with runs.read(requests, options) as checked:
                print(checked.count, checked.estimate.amount, checked.warnings)
                run = await runs.begin(checked, options)
        """
        how: dict[str, Any] = {
            "limits": limits,
            "version": options.profile.anthropic_version,
            "betas": options.profile.anthropic_beta,
            "scratch": options.scratch,
            "prices": options.prices if estimate else None,
        }
        async with AsyncExitStack() as opened:
            paths = _paths_of(requests)
            if paths is None:
                yield await opened.enter_async_context(read_items(requests, **how))  # type: ignore[arg-type]
                return
            found = find_files(paths)
            stop = threading.Event()
            enter = partial(opened.enter_context, read_files(found, **how, stop=stop))
            # Standard input, or a pipe, may never go on: a cancellation would wait for the thread that reads it.
            yield await run_stoppable(enter, stop) if all(map(os.path.isfile, found)) else enter()

    async def begin(
        self,
        requests: JobRequests,
        options: StartOptions,
        job: JobOptions | None = None,
        *,
        retries: bool = False,
        again: bool = False,
        again_id: str | None = None,
        on_again: Callable[[str], None] | None = None,
    ) -> BatchRun:
        """Start a run or a job for requests that are read, as `start` does.

        Args:
            requests: from `read()`.
            options: of each run.
            job: the options of a job, if it becomes one.
            retries: whether retries were asked for, which only a job has.
            again: send them again, in a run of its own.
            again_id: the workflow id of that, from an earlier call with an unknown outcome.
            on_again: called with the workflow id of such a run before anything is sent.

        Example:
            from message_batches.library.options import of_run

            options = of_run(runs.connections.settings, max_cost=5)
            async with runs.read(requests, options) as checked:
                run = await runs.begin(checked, options)
        """
        with self.connections.calls():
            store = self.connections.store
            as_job = retries or len(requests.shards) > 1
            if not as_job and not again:
                as_job = await has_plan(store, requests, options)
            client = await self.connections.client()
            # Meanwhile: it may take the store as long as all the rest.
            looking = asyncio.create_task(with_past_runs(requests, store, options.profile.api_key, options.prices))
            try:
                started = await (partial(start_job, job=job or JobOptions()) if as_job else start_run)(
                    client, store, requests, requests.name, options, again=again, again_id=again_id, on_again=on_again
                )
                if started.estimate:
                    started = replace(started, estimate=await looking)
            finally:
                looking.cancel()
            return self._begun(started)

    async def take_over(self, batch_id: str, options: StartOptions, requests: JobRequests | None = None) -> BatchRun:
        """Take over a batch, with its requests from `read()` if they are known, as `attach` does.

        Example:
            from message_batches.library.options import of_run

            run = await runs.take_over(batch_id, of_run(runs.connections.settings))
        """
        with self.connections.calls():
            if requests and len(requests.shards) > 1:
                raise InvalidRequests(
                    f"{plural(requests.count, 'request')} of {requests.body_bytes:,} bytes are more than a batch holds"
                )
            client, store = await self.connections.client(), self.connections.store
            return self._begun(
                await attach_run(client, store, batch_id, options, requests, requests.name if requests else "")
            )

    def _begun(self, started: StartResult) -> BatchRun:
        if started.unchecked:
            raise NotComparable(started)
        job = isinstance(started, JobStart)
        return BatchRun(self.connections, started.workflow_id, job=job, started=started)


def _paths_of(requests: Requests) -> list[str] | None:
    """Return the paths of files; None for requests themselves."""
    given = [requests] if isinstance(requests, str | os.PathLike) else requests
    if not isinstance(given, list | tuple) or not given:
        return None
    return [os.fspath(each) for each in given] if all(isinstance(each, str | os.PathLike) for each in given) else None
