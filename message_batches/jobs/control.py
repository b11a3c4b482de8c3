"""Steering a job: stopping it, ending its pause, starting it again, settling a shard."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from decimal import Decimal

from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes

from message_batches.contract import CANCEL_JOB, JOB_WORKFLOW_TYPE, RESUME_JOB, WORKFLOW_TYPE, NextAction
from message_batches.formatting import plural
from message_batches.job_models import (
    JobInput,
    JobOutput,
    JobProgress,
    Retries,
    RetryKind,
    ShardPlace,
    ShardState,
    shard_place,
)
from message_batches.jobs.describe import JobView, describe_job, is_job, read_input
from message_batches.jobs.records import JobRecords
from message_batches.jobs.shards import Shard, ShardReader, usable_of
from message_batches.models import BatchInput, RequestsInput, Resolution
from message_batches.requests.manifest import load_manifest
from message_batches.results import reader
from message_batches.results.failed import may_pass
from message_batches.runs.control import NoAnswer, Refused, Runs
from message_batches.runs.deduplication import retry_job_id_of
from message_batches.runs.describe import QUERY_TIMEOUT, RunView, describe_execution, describe_run, follow
from message_batches.runs.starter import MAX_TRIES, Starter, StartOptions, StartUnanswered
from message_batches.storage import job_paths
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecords
from message_batches.temporal.search_attributes import SCHEDULED_TIME
from message_batches.uri_template import fill

_BATCH_GONE = ("BatchNotFound", "ResultsArchived")
"""The failures of a shard's run after which its batch has no results any more."""


class Jobs:
    """The jobs of one namespace, that of `client`, and their records in one store."""

    def __init__(self, client: Client, store: Store) -> None:
        self.client = client
        self._store = store
        self._runs = Runs(client, store)

    async def describe(self, workflow_id: str, *, query_timeout: timedelta = QUERY_TIMEOUT) -> JobView:
        """Describe a job; `RunNotFound` if Temporal knows none of that workflow id."""
        return await describe_job(self.client, self._store, workflow_id, query_timeout=query_timeout)

    def follow(self, workflow_id: str) -> AsyncGenerator[JobView]:
        """Yield a job as it is seen, about once a second, to its end; also while Temporal is unavailable."""
        return follow(self.client, workflow_id, lambda: self.describe(workflow_id))

    async def cancel(self, workflow_id: str) -> None:
        """Stop the batches of a job, and land and merge what has finished."""
        _check_answering(await self.describe(workflow_id))
        await self._runs.update(workflow_id, CANCEL_JOB, result_type=JobProgress)

    async def abandon(self, workflow_id: str) -> None:
        """Cancel the job itself: its runs stop their batches at the provider, and nothing more is landed or merged."""
        _check_answering(await self.describe(workflow_id))
        await self._runs.abandon(workflow_id)

    async def resume(self, workflow_id: str) -> JobView:
        """End the pause of a job, or start one again that has ended without all of its results; return what it was.

        `Refused` for one that is not paused, and for one whose results are complete.
        """
        view = await self.describe(workflow_id)
        if view.running:
            _check_answering(view)
            await self._runs.update(workflow_id, RESUME_JOB, result_type=JobProgress)
        elif view.output and not view.output.failed_shard_count and not view.output.unfinished:
            raise Refused(
                f"Each request of {workflow_id} has a result: there is nothing to resume. Nothing was sent",
                NextAction.RETRY,
                workflow_id=workflow_id,
            )
        else:
            await self.start_again(view, await self._input(view))
        return view

    async def retry(self, view: JobView, retries: Retries, max_cost: Decimal | None = None) -> None:
        """Start a job that has ended again, for waves that send what has failed so far; `Refused` while it runs."""
        if view.running:
            raise Refused(
                f"{view.workflow_id} has not ended: what has failed by then can be sent again afterwards. Nothing was "
                "started",
                NextAction.WATCH,
                workflow_id=view.workflow_id,
            )
        _check_failed(view, retries)
        given = (await self._input(view)).model_copy(update={"retries": retries})
        await self.start_again(view, given.model_copy(update={"max_cost": max_cost}) if max_cost else given)

    async def retry_run(self, run: RunView, retries: Retries, max_cost: Decimal | None = None) -> str:
        """Start a job that begins with the results of a run, and sends what has failed there; return its workflow id.

        The results of a run have one job: one that there is is started again. `Refused` for a run that has not landed,
        and for that of a shard, which its job retries.
        """
        given = await read_input(self.client, run, BatchInput)
        sender = await self._sender(run, given.api_key)
        if (place := shard_place(sender)) and await is_job(self.client, place.job_id):
            raise Refused(
                f"{sender} is a shard of {place.job_id}: what has failed there is sent again by that job. Nothing was "
                "started",
                NextAction.RETRY,
                workflow_id=place.job_id,
            )
        if run.output is None:
            raise Refused(
                f"{run.workflow_id} has no results yet: only what has failed of landed ones can be sent again. Nothing "
                "was started",
                NextAction.WATCH if run.running else (run.failure.action if run.failure else None),
                workflow_id=run.workflow_id,
                batch_id=run.batch_id,
                api_key=run.failure.api_key if run.failure else None,
            )
        _check_failed(run, retries)
        publication = await reader.of_output(self._store, run.output)
        if publication.manifest_name is None:
            raise Refused(
                f"The requests of {run.batch_id} are not known here: it was taken over without them, or their record "
                "is gone. Nothing was started",
                NextAction.ATTACH_WITH_REQUESTS,
                batch_id=run.batch_id,
            )
        manifest = await load_manifest(self._store, self._store.uri(publication.manifest_name))
        job_id = retry_job_id_of(manifest.content, given.profile, sender)
        if await is_job(self.client, job_id):
            await self.retry(await self.describe(job_id), retries, max_cost)
            return job_id
        shared = {name: getattr(given, name) for name in RequestsInput.model_fields}
        own = {
            "requests": None,
            "requests_uri": manifest.uri,
            "requests_uri_zone": None,
            "wait_for_requests": None,
            "store_id": manifest.store_id,
            "base": run.workflow_id,
            "retries": retries,
            "max_cost": given.max_cost if max_cost is None else max_cost,
            # It was that of the run which has ended.
            "deadline": None,
            "static_summary": f"what has failed of {run.workflow_id}, sent again",
            "static_details": None,
        }
        await self._start(job_id, JobInput(**(shared | own)), run.task_queue)
        return job_id

    async def _sender(self, run: RunView, api_key: str) -> str:
        """Return the workflow id of the run that has sent the batch of a run, which may have taken it over."""
        owners = await SubmissionRecords(self._store).owners_of(run.batch_id, api_key) if run.batch_id else []
        return owners[0].workflow_id if len(owners) == 1 else run.workflow_id

    async def start_again(self, view: JobView, given: JobInput) -> None:
        """Start another run of a job; if one is under way, leave it at that."""
        await self._start(view.workflow_id, given, view.task_queue)

    async def _start(self, workflow_id: str, given: JobInput, task_queue: str) -> None:
        starter = Starter(self.client, self._store, StartOptions(task_queue=task_queue))
        await _until_answered(starter, JOB_WORKFLOW_TYPE, workflow_id, given)

    async def settle(self, workflow_id: str, resolution: Resolution) -> ShardPlace | None:
        """Decide on a shard whose run has ended without one: another run under its id takes its batch over, or submits.

        Args:
            workflow_id: of the shard's run.
            resolution: the batch, or that there is none and the requests are submitted again.

        Returns:
            The place of the shard; None for a run that has not ended, or is none of a shard: nothing was done.
        """
        place = shard_place(workflow_id)
        if place is None or not await is_job(self.client, place.job_id):
            return None
        run = await describe_run(self.client, workflow_id, query_timeout=timedelta())
        if run.running:
            return None
        if run.output:
            raise Refused(f"The results of {workflow_id} have landed: there is nothing to decide. Nothing was sent")
        view = await self.describe(place.job_id, query_timeout=timedelta())
        plan = await JobRecords(self._store, view.folder).plan(place.wave) if view.folder else None
        if plan is None or place.number >= len(plan):
            raise Refused(f"{place.job_id} has no shard {workflow_id} in its plan. Nothing was sent")
        manifest = plan[place.number]
        job = await read_input(self.client, view, JobInput)
        if resolution.adopt is None and view.folder:
            shard = Shard(place.job_id, place.wave, place.number, manifest)
            records = JobRecords(self._store, view.folder)
            _check_unknown(await ShardReader(self._store).read(self.client, records, shard, job.api_key))
        given = job.of_shard(manifest.uri, manifest.store_id, batch_id=resolution.adopt, summary=run_summary(place))
        starter = Starter(self.client, self._store, StartOptions(task_queue=run.task_queue))
        # What is decided by hand is not bound by a deadline of the job.
        own = {"take_over": False, "deadline": None}
        await _until_answered(starter, WORKFLOW_TYPE, workflow_id, given.model_copy(update=own))
        return place

    async def _input(self, view: JobView) -> JobInput:
        """Return the input of another run of a job: with its plan, once it has one, instead of the requests."""
        # A deadline was that of the run which has ended.
        given = (await read_input(self.client, view, JobInput)).model_copy(update={"deadline": None})
        if not view.folder or await JobRecords(self._store, view.folder).plan(0) is None:
            return await self._of_first_time(view, given)
        own = {"requests": None, "requests_uri": self._store.uri(job_paths.plan_path(view.folder, 0)), "base": None}
        return given.model_copy(update=own | {"requests_uri_zone": None, "wait_for_requests": None})

    async def _of_first_time(self, view: JobView, given: JobInput) -> JobInput:
        """Return the input with the address of its requests filled in: no schedule starts the job that begins now."""
        if given.requests_uri is None or given.requests_uri_zone is None:
            return given
        info = (await describe_execution(self.client, view.workflow_id, JOB_WORKFLOW_TYPE)).workflow_execution_info
        time = decode_typed_search_attributes(info.search_attributes).get(SCHEDULED_TIME) or view.started
        uri = fill(given.requests_uri, time, given.requests_uri_zone)
        return given.model_copy(update={"requests_uri": uri, "requests_uri_zone": None})


def _check_unknown(shard: ShardState) -> None:
    """Raise `Refused` for a shard whose batch is known: submitted again it would be paid for twice."""
    if shard.batch_id and shard.type not in _BATCH_GONE:
        raise Refused(
            f"The batch of {shard.workflow_id} is known, {shard.batch_id}: its job takes it up when started again. "
            "Nothing was sent",
            batch_id=shard.batch_id,
        )


def run_summary(place: ShardPlace) -> str:
    """Return the line for the Web UI of a run that was started for a shard by an operator."""
    return f"shard {place.number + 1} in wave {place.wave} of {place.job_id}, as an operator has decided"


async def _until_answered(starter: Starter, workflow_type: str, workflow_id: str, given: BatchInput | JobInput) -> None:
    for _ in range(MAX_TRIES):
        try:
            await starter.start_or_join(workflow_type, workflow_id, given)
        except StartUnanswered:
            continue
        return
    raise NoAnswer(
        f"Temporal did not answer whether {workflow_id} was started", NextAction.CHECK_RUN, workflow_id=workflow_id
    )


def _check_failed(view: JobView | RunView, retries: Retries) -> None:
    """Raise `Refused` for landed results of which nothing has failed."""
    output = view.output
    if output is None or (isinstance(output, JobOutput) and output.unfinished):
        return
    summary = output.summary
    unusable = summary.counts.succeeded - usable_of(summary)
    if not may_pass(summary) and not (unusable and retries.what is RetryKind.UNUSABLE):
        faulty = (
            f"; {plural(summary.counts.errored, 'request')} to be corrected first" if summary.counts.errored else ""
        )
        cut = f"; {plural(unusable, 'reply is', 'replies are')} not whole" if unusable else ""
        raise Refused(f"No request of {view.workflow_id} has failed in passing{faulty}{cut}. Nothing was sent")


def _check_answering(view: JobView) -> None:
    """Raise `Refused` for a job that has ended, `NoAnswer` for one without a worker."""
    if not view.running:
        raise Refused(f"{view.workflow_id} is over ({view.status}): there is nothing to stop or to decide")
    if view.worker is False:
        raise NoAnswer(
            f"No worker that takes the job polls task queue {view.task_queue!r}. Nothing was stopped or decided",
            NextAction.START_WORKER,
            workflow_id=view.workflow_id,
        )
