"""Starting a job: for new requests, for requests that were sent before; the same content is the same job."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from message_batches.contract import JOB_WORKFLOW_TYPE, NextAction
from message_batches.formatting import DETAILS_BYTES, SUMMARY_BYTES, plural, truncate_payload
from message_batches.job_models import JobInput, JobOutput, Retries, RetryKind, ShardLimits
from message_batches.jobs.files import JobRequests
from message_batches.jobs.plan import record_first_wave
from message_batches.jobs.records import JobRecords
from message_batches.requests.estimate import check_limit
from message_batches.requests.manifest import manifest_of, store_manifest
from message_batches.results import reader
from message_batches.runs.control import NoAnswer, Refused
from message_batches.runs.deduplication import Finished, NeverSent, find_prior_run, job_id_of, workflow_id_of
from message_batches.runs.describe import RunNotFound, RunStatus, describe_execution
from message_batches.runs.history import RunFailure, read_end
from message_batches.runs.start import again_id_of
from message_batches.runs.starter import MAX_TRIES, Starter, StartOptions, StartResult, StartUnanswered
from message_batches.runs.static_details import StaticDetails
from message_batches.storage.interface import Store
from message_batches.storage.job_paths import job_folder, plan_path
from message_batches.temporal.diagnosis import unanswered
from message_batches.temporal.namespaces import begin_store


@dataclass(frozen=True)
class JobOptions:
    """The options of a job, besides those of each of its runs.

    Attributes:
        limits: of each shard; the requests are split by them when they are read.
        concurrency: how many batches are under way at once.
        retries: the waves after the first one.
    """

    limits: ShardLimits = field(default_factory=ShardLimits)
    concurrency: int = JobInput.model_fields["concurrency"].default
    retries: Retries = field(default_factory=Retries)


@dataclass(frozen=True)
class JobStart(StartResult):
    """A job that is under way, or whose results are there already.

    Attributes:
        landed: the results, if they had landed before, with those of each request.
    """

    landed: JobOutput | None = None


@dataclass(frozen=True)
class _Ended:
    """An earlier run of a job that has ended without all of its results, and how."""

    how: str


async def has_plan(store: Store, requests: JobRequests, options: StartOptions) -> bool:
    """Return whether these requests have a job: then they are not sent in a run beside it."""
    job_id = job_id_of(requests.content_sha256, options.profile)
    return await JobRecords(store, job_folder(job_id, requests.content_sha256)).plan(0) is not None


async def start_job(
    client: Client,
    store: Store,
    requests: JobRequests,
    name: str,
    options: StartOptions,
    job: JobOptions,
    *,
    again: bool = False,
    again_id: str | None = None,
    on_again: Callable[[str], None] | None = None,
) -> StartResult:
    """Start a job for requests, unless there is or was one: the same content is the same job.

    One that has ended without a result for each request is started again, and sends only what is left. Requests that
    have been run already are not sent again: the job begins with the results of that run, once it has landed.

    Args:
        client: from `connect()`.
        store: that of the workers; the requests and the plan are written there first.
        requests: from `read_files()`.
        name: of their files, for the Web UI.
        options: of each run.
        job: of the job.
        again: submit them again (and pay again), in a job with a workflow id of its own.
        again_id: that id, from an earlier call with an unknown outcome.
        on_again: called with the workflow id of such a job before anything is sent.
    """
    await begin_store(client, store, options.task_queue)
    starter = _JobStarter(client, store, requests, name, options, job)
    job_id = job_id_of(requests.content_sha256, options.profile)
    if again:
        job_id = again_id_of(job_id, again_id)
        if on_again:
            on_again(job_id)
    return await starter.start(job_id, beside_run=not again)


@dataclass(frozen=True)
class _JobStarter:
    client: Client
    store: Store
    requests: JobRequests
    name: str
    options: StartOptions
    job: JobOptions

    async def start(self, job_id: str, *, beside_run: bool) -> StartResult:
        requests, options = self.requests, self.options
        starter = Starter(self.client, self.store, options)
        lost = False
        for _ in range(MAX_TRIES):
            try:
                prior = await self._prior(job_id)
            except RPCError as error:
                if lost and unanswered(error):
                    continue
                raise
            if isinstance(prior, JobStart):
                return JobStart(job_id, estimate=requests.estimate) if lost and not prior.landed else prior
            run = await self._run_before(starter) if beside_run else None
            if isinstance(run, StartResult):
                return run
            if run is None and options.max_cost is not None and requests.estimate:
                check_limit(requests.estimate, options.max_cost, "maxCost")
            given = await self._input(job_id, run)
            # One that another starter has started since then, and that has ended, only takes up what has landed.
            policy = WorkflowIDReusePolicy.ALLOW_DUPLICATE if prior else WorkflowIDReusePolicy.REJECT_DUPLICATE
            try:
                await starter.start_new(JOB_WORKFLOW_TYPE, job_id, given, policy)
            except WorkflowAlreadyStartedError:
                continue
            except StartUnanswered:
                lost = True
                continue
            return JobStart(job_id, _note(prior, run), estimate=None if run or prior else requests.estimate)
        if lost:
            raise NoAnswer(
                f"Temporal did not answer whether {job_id} was started",
                NextAction.REPEAT_START if beside_run else NextAction.REPEAT_AGAIN,
                workflow_id=job_id,
                api_key=options.profile.api_key,
            )
        raise Refused(f"Others keep starting and ending {job_id}; nothing was sent from here")

    async def _prior(self, job_id: str) -> JobStart | _Ended | None:
        """Return the job where it is under way or complete; how it has ended otherwise; None if there was none."""
        try:
            info = (await describe_execution(self.client, job_id, JOB_WORKFLOW_TYPE)).workflow_execution_info
        except RunNotFound:
            return None
        status = RunStatus.of(info)
        if status.running:
            return JobStart(job_id, "These requests have a job already, it is under way: attached to it", joined=True)
        end = await read_end(self.client, job_id, info.execution.run_id, JobOutput)
        if isinstance(end, RunFailure):
            return _Ended(f"{status}: {end.message}")
        if end.failed_shard_count or end.unfinished:
            left = end.unfinished.count if end.unfinished else 0
            return _Ended(f"ended without a result for {plural(left, 'request')}")
        if not await reader.has_file(self.store, end.results_file):
            return _Ended("landed, and its results are gone from the store")
        return JobStart(job_id, "These requests have been sent before as a job, these are its results", landed=end)

    async def _run_before(self, starter: Starter) -> Finished | StartResult | None:
        """Return the run that the same requests have had: its results, or the run itself where it has not landed."""
        requests, profile = self.requests, self.options.profile
        # One batch may have had them also where they are split into smaller ones now.
        if not requests.ids or await has_plan(self.store, requests, self.options):
            return None
        manifest = await manifest_of(self.store, requests)
        run_id = workflow_id_of(manifest.content, profile)
        prior = await find_prior_run(self.client, self.store, manifest, profile.api_key, run_id)
        match prior:
            case NeverSent():
                return None
            case Finished():
                return prior
        await store_manifest(self.store, requests)
        shown = StaticDetails.of_requests(requests, self.name, profile, self.options.poll)
        return replace(await starter.continue_prior(prior, run_id, manifest, shown), retry_later=True)

    async def _input(self, job_id: str, run: Finished | None) -> JobInput:
        """Put the requests and the plan into the store, and return the job's input; with a run, that is its base."""
        requests = self.requests
        if run:
            manifest = await store_manifest(self.store, requests)
            uri, shards, base = manifest.uri, 1, run.workflow_id
        else:
            plan = await record_first_wave(self.store, job_id, requests.content_sha256, requests.shards)
            uri, shards, base = self.store.uri(plan_path(plan.folder, 0)), len(plan.shards), None
        return self.options.input_of(
            JobInput,
            self._shown(shards, base),
            requests_uri=uri,
            store_id=await self.store.identity(),
            shards=self.job.limits,
            concurrency=self.job.concurrency,
            retries=self.job.retries,
            base=base,
        )

    def _shown(self, shards: int, base: str | None) -> StaticDetails:
        """Return the texts for the Web UI: those of a run of the requests, and how they are sent."""
        shown = StaticDetails.of_requests(self.requests, self.name, self.options.profile, self.options.poll)
        split, retries = plural(shards, "shard"), self.job.retries
        what = "errors" if retries.what is RetryKind.ERRORS else "errors, and replies that were cut off"
        again = f" Then up to {plural(retries.waves, 'wave')} of what has failed ({what})." if retries.waves else ""
        sent = f"The results of {base} are the starting point." if base else f"Sent in {split}."
        return StaticDetails(
            truncate_payload(f"job: {shown.summary}, in {split}", SUMMARY_BYTES),
            truncate_payload(f"{sent}{again}\n\n{shown.details}", DETAILS_BYTES),
        )


def _note(prior: _Ended | None, run: Finished | None) -> str:
    if prior:
        return f"The job of these requests {prior.how}. Started again: only what is left is sent"
    if run:
        return f"These requests have been run before ({run.workflow_id}): only what has failed there is sent"
    return ""
