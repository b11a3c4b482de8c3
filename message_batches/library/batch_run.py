"""A run or a job, as a program holds it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal

from message_batches.contract import JOB_WORKFLOW_TYPE
from message_batches.job_models import RetryKind
from message_batches.jobs.describe import JobView, find_stored_job, workflow_type
from message_batches.jobs.start import JobStart
from message_batches.library.connections import Connections
from message_batches.library.options import cost_limit, retries_of
from message_batches.library.outcomes import Landed, Resolved, RunFailed, Stopped, landed_before, merged_before
from message_batches.library.results import BatchResult, read_line
from message_batches.library.sources import Source, find_source
from message_batches.models import Resolution
from message_batches.results import reader
from message_batches.runs.control import Refused, check_batch_id, find_stored_results, is_batch_id
from message_batches.runs.describe import RunNotFound, RunView
from message_batches.runs.starter import StartResult
from message_batches.temporal.connection import TemporalUnreachable


class BatchRun:
    """A run or a job: the content of the requests decides which it is.

    `BatchRuns` makes it, by `start`, `attach` or `get`. It holds nothing open, and any number of programs can hold the
    same run.

    Attributes:
        id: the workflow id, or the id of the run's batch where that was given; with it `BatchRuns.get` finds the run.
        started: how it was started here: joined, or with results that had landed before, and the estimated cost; None
            from `get`.

    Example:
        run = await runs.start(requests)
        print(run.id, run.started.estimate.amount)
    """

    def __init__(
        self, connections: Connections, identity: str, *, job: bool | None = None, started: StartResult | None = None
    ) -> None:
        self.id = identity
        self.started = started
        self._connections = connections
        self._job = job

    def __repr__(self) -> str:
        return f"BatchRun({self.id!r})"

    async def is_job(self) -> bool:
        """Check whether it is a job; False too where Temporal knows none of that id.

        Example:
            print("a job" if await run.is_job() else "a run")
        """
        with self._connections.calls():
            if self._job is None and not is_batch_id(self.id):
                kind = await workflow_type(await self._connections.client(), self.id)
                if kind is None:
                    return False
                self._job = kind == JOB_WORKFLOW_TYPE
            return bool(self._job)

    async def progress(self) -> RunView | JobView:
        """Return where it stands; `RunNotFound` if Temporal no longer knows it.

        It needs no worker: without one, `progress.progress` is what the history or the store shows.

        Example:
            seen = await run.progress()
            if seen.running and seen.progress:
                print(seen.progress.phase, [obstacle.cause for obstacle in seen.obstacles])
        """
        with self._connections.calls():
            if await self.is_job():
                return await (await self._connections.jobs()).describe(self.id)
            return await (await self._connections.runs()).describe(self.id)

    async def follow(self) -> AsyncGenerator[RunView | JobView]:
        """Yield where it stands, about once a second, to its end; also while no worker, or no Temporal, is there.

        Example:
            async for seen in run.follow():
                print(seen.status, seen.progress and seen.progress.phase)
        """
        with self._connections.calls():
            runs, jobs = await self._connections.runs(), await self._connections.jobs()
            views: AsyncGenerator[RunView | JobView]
            views = jobs.follow(self.id) if await self.is_job() else runs.follow(await runs.workflow_id(self.id))
            async with aclosing(views):
                async for view in views:
                    yield view

    async def result(self) -> Landed:
        """Wait for the end, however long no worker is there, and return what has landed.

        `RunFailed` if it ends without results, `RunNotFound` if neither Temporal nor the store knows it.

        Example:
            output = await run.result()
            print(output.summary.counts.succeeded, output.cost.amount, output.results_file.uri)
        """
        with self._connections.calls():
            if landed := self._landed_before_start():
                return landed
            if is_batch_id(self.id) and (stored := await self.stored()):
                return stored
            try:
                view = await self._end()
            except (RunNotFound, TemporalUnreachable):
                if stored := await self.stored():
                    return stored
                raise
            if view.output:
                return view.output
            store = self._connections.store
            if isinstance(view, JobView):
                before: Landed | None = await merged_before(store, view, self._connections.client)
            else:
                before = await landed_before(store, view)
            if before:
                return before
            raise RunFailed(view)

    async def results(self, *, wait: bool = True, partial: bool = False) -> AsyncGenerator[BatchResult]:
        """Yield the result of each request, in the order of the requests, read from the store piece by piece.

        `ResultsChanged` at the end if the file is not the one that has landed.

        Args:
            wait: for the end; otherwise `ResultsNotFound` if nothing has landed.
            partial: of a job that has not ended: what has landed of it so far.

        Example:
            async for result in run.results():
                print(result.custom_id, result.outcome, result.message)
        """
        if wait and not partial:
            await self.result()
        source = await self.source(partial=partial)
        async with aclosing(reader.lines(source.pieces())) as lines:  # type: ignore[type-var]  # It is a generator.
            async for line in lines:
                if line.strip():
                    yield await read_line(line)

    async def cancel(self, *, abandon: bool = False) -> Stopped:
        """Stop the batch, or those of a job, and land what has finished; `NoAnswer` without a worker.

        Args:
            abandon: cancel the run or the job itself: the batches are stopped too, and nothing is landed.

        Example:
            await run.cancel()
            print((await run.result()).summary.counts.canceled)
        """
        with self._connections.calls():
            if await self.is_job():
                jobs = await self._connections.jobs()
                await (jobs.abandon(self.id) if abandon else jobs.cancel(self.id))
                return Stopped(self.id, job=True)
            runs = await self._connections.runs()
            view = await runs.describe_running(self.id)
            if abandon:
                await runs.abandon(view.workflow_id)
                return Stopped(view.workflow_id, job=False, batch_id=view.batch_id)
            batch = await runs.cancel_batch(view.workflow_id)
            return Stopped(view.workflow_id, job=False, batch_id=view.batch_id, batch=batch)

    async def resolve(self, *, adopt: str | None = None, submit_again: bool = False) -> Resolved:
        """Decide which batch is the run's after a lost reply; also of a job's shard whose run has ended undecided.

        Args:
            adopt: the id of the batch; its results are checked against the requests.
            submit_again: none is: the requests are sent, and charged, again.

        Example:
            seen = await run.progress()
            if seen.progress.phase == "undecided":
                await run.resolve(adopt=seen.progress.candidates[0].batch_id)
        """
        with self._connections.calls():
            if bool(adopt) == submit_again:
                raise Refused("Either a batch is adopted, or the requests are submitted again: give one of the two")
            if adopt:
                check_batch_id(adopt)
            resolution = Resolution(adopt=adopt, submit_again=submit_again)
            if shard := await (await self._connections.jobs()).settle(self.id, resolution):
                return Resolved(self.id, shard.job_id)
            runs = await self._connections.runs()
            view = await runs.describe_running(self.id)
            await runs.resolve(view.workflow_id, resolution)
            return Resolved(view.workflow_id)

    async def resume(self) -> bool:
        """End the pause of a job; start one again that has ended without a result for each request.

        Returns:
            Whether it was started again; then it takes up what there is, and sends the rest.

        Example:
            seen = await run.progress()
            if seen.progress.paused:
                await run.resume()
        """
        with self._connections.calls():
            before = await (await self._connections.jobs()).resume(self.id)
            return not before.running

    async def retry(
        self,
        what: RetryKind | str = RetryKind.ERRORS,
        *,
        max_tokens: int | None = None,
        retry_waves: int = 2,
        max_cost: Decimal | float | str | None = None,
    ) -> "BatchRun":
        """Send again what has failed, in a job whose results are those of both, merged; return that job.

        `Refused` where nothing has failed, or it has not ended.

        Args:
            what: `errors`, those that expired or failed in passing; or `unusable`, also replies that were cut off.
            max_tokens: the limit that these get.
            retry_waves: how often at most, each time what has failed by then.
            max_cost: the most, in USD, that all may cost by the estimate; by default the limit that there was.

        Example:
            await run.result()
            job = await run.retry(max_cost=5)
            print((await job.result()).summary.counts.succeeded)
        """
        with self._connections.calls():
            retries, limit = retries_of(what, max_tokens, retry_waves), cost_limit(max_cost)
            jobs = await self._connections.jobs()
            if await self.is_job():
                await jobs.retry(await jobs.describe(self.id), retries, limit)
                return BatchRun(self._connections, self.id, job=True)
            run = await (await self._connections.runs()).describe(self.id)
            return BatchRun(self._connections, await jobs.retry_run(run, retries, limit), job=True)

    async def stored(self) -> Landed | None:
        """Return what the store alone has of it, which outlives what Temporal knows; None if nothing has landed.

        Example:
            landed = await run.stored()
            print(landed.results_file.lines if landed else "nothing yet")
        """
        if found := await find_stored_results(self._connections.store, self.id):
            return found.landed
        job = None if is_batch_id(self.id) else await find_stored_job(self._connections.store, self.id)
        return job.merged if job else None

    async def source(self, *, partial: bool = False) -> Source:
        """Return the landed results for reading them in other ways, such as each with its request.

        `ResultsNotFound` if there are none.

        Args:
            partial: of a job that has not ended: what has landed of it so far.

        Example:
            await run.result()
            async for result, line, request in (await run.source()).pairs():
                print(result.custom_id, len(line), len(request))
        """
        with self._connections.calls():
            return await find_source(self._connections, self.id, partial=partial)

    def _landed_before_start(self) -> Landed | None:
        if isinstance(self.started, JobStart) and self.started.landed:
            return self.started.landed
        return self.started.finished.landed if self.started and self.started.finished else None

    async def _end(self) -> RunView | JobView:
        async with aclosing(self.follow()) as views:
            async for view in views:
                if not view.running:
                    return view
        raise AssertionError("it is followed to its end")
