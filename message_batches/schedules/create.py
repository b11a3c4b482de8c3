"""Creating a schedule: of requests that go into the store now, or of a file that is looked for at each firing."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleState,
)
from temporalio.service import RPCError, RPCStatusCode

from message_batches.api.keys import may_be_a_key
from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.formatting import DETAILS_BYTES, SUMMARY_BYTES, markdown_code, plural, truncate_payload
from message_batches.job_models import JobInput
from message_batches.jobs.files import JobRequests
from message_batches.jobs.start import JobOptions
from message_batches.models import BatchInput, RequestsInput
from message_batches.requests.estimate import check_limit
from message_batches.requests.manifest import store_manifest
from message_batches.runs.control import NoAnswer, Refused, is_batch_id
from message_batches.runs.deduplication import attached_batch
from message_batches.runs.starter import MAX_TRIES, START_TIMEOUT, StartOptions, refuse_unencrypted
from message_batches.runs.static_details import StaticDetails
from message_batches.schedules.describe import NOTE, ScheduleNotFound, describe_schedule
from message_batches.schedules.models import Overlap, ScheduleNote, ScheduleOptions, ScheduleView
from message_batches.storage.interface import Store
from message_batches.temporal.diagnosis import unanswered
from message_batches.temporal.namespaces import begin_store
from message_batches.uri_template import fill, has_placeholders, zone_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


async def schedule_requests(
    client: Client,
    store: Store,
    name: str,
    requests: JobRequests,
    options: StartOptions,
    when: ScheduleOptions,
    job: JobOptions | None = None,
) -> ScheduleView:
    """Put requests into the store and create a schedule whose firings send them, each in a run or a job of its own.

    `Refused` if there is a schedule of that name already, or Temporal cannot use its times; `CostLimitExceeded` where
    the requests may cost more than the options allow. Then nothing will be sent.

    Args:
        client: from `connect()`.
        store: that of the workers.
        name: of the schedule; the workflow ids of its runs begin with it.
        requests: from `read_files()`.
        options: of each run; its deadline is left out.
        when: the times and policies.
        job: the options of a job, for requests that one batch cannot take, or that are to be sent again.
    """
    maker = _Maker(client, store, name, options, when)
    await maker.check()
    if options.max_cost is not None and requests.estimate:
        check_limit(requests.estimate, options.max_cost, "maxCost")
    manifest = await store_manifest(store, requests)
    shown = StaticDetails.of_requests(requests, requests.name, options.profile, options.poll)
    given = {"requests_uri": manifest.uri, "store_id": manifest.store_id}
    made = await maker.create(given, shown, job, ScheduleNote(requests_from=requests.name, requests=requests.count))
    # A purge that has not seen the schedule yet may have removed them as those of an old run.
    await store_manifest(store, requests)
    return made


async def schedule_file(
    client: Client,
    store: Store,
    name: str,
    uri: str,
    options: StartOptions,
    when: ScheduleOptions,
    job: JobOptions,
    *,
    wait: timedelta | None = None,
) -> ScheduleView:
    """Create a schedule whose firings send the requests that a file in the store has then, each in a job of its own.

    Raises as `schedule_requests` does.

    Args:
        client: from `connect()`.
        store: that of the workers.
        name: of the schedule.
        uri: the address of a JSONL file; `{date}` and the like in it are the time of the firing, in the time zone.
        options: of each run; its deadline is left out.
        when: the times and policies.
        job: the options of each job.
        wait: how long a firing waits for the file; by default it has to be there.
    """
    maker = _Maker(client, store, name, options, when)
    # What is wrong with it would otherwise be found at the first firing.
    store.name(fill(uri, datetime.now(UTC), when.time_zone) if has_placeholders(uri) else uri)
    await maker.check()
    waiting = f", waited for up to {_hours(wait)}" if wait else ""
    shown = StaticDetails(markdown_code(uri), f"Requests from {markdown_code(uri)}{waiting}.")
    given = {
        "requests_uri": uri,
        "requests_uri_zone": when.time_zone if has_placeholders(uri) else None,
        "wait_for_requests": wait,
        "store_id": await store.identity(),
    }
    return await maker.create(given, shown, job, ScheduleNote(requests_from=uri))


@dataclass(frozen=True)
class _Maker:
    client: Client
    store: Store
    name: str
    options: StartOptions
    when: ScheduleOptions

    async def check(self) -> None:
        """Raise `Refused` for a name or a time zone that cannot be used, then begin the store."""
        check_name(self.name)
        zone_of(self.when.time_zone)
        if self.when.pause_on_failure and self.when.overlap is Overlap.ALLOW:
            raise Refused(
                "pause_on_failure does not go with an overlap that is allowed: Temporal does not watch the runs of "
                "such a schedule. Nothing was created",
                option="pause_on_failure",
            )
        await refuse_unencrypted(self.client, self.store)
        await begin_store(self.client, self.store, self.options.task_queue)

    async def create(
        self, given: dict[str, Any], shown: StaticDetails, job: JobOptions | None, note: ScheduleNote
    ) -> ScheduleView:
        """Create the schedule, once: where the answer is lost, it is looked for by its nonce."""
        note = note.model_copy(update={"cron": self.when.cron, "nonce": uuid4().hex})
        schedule = Schedule(
            action=self._action(self._input(given, shown, job), job),
            spec=self.when.spec,
            policy=self.when.policy,
            state=ScheduleState(),
        )
        lost = False
        for _ in range(MAX_TRIES):
            try:
                await self.client.create_schedule(self.name, schedule, memo={NOTE: note}, rpc_timeout=START_TIMEOUT)
            except ScheduleAlreadyRunningError as error:
                if lost and await self._is_there(note):
                    break
                raise Refused(
                    f"There is a schedule {self.name!r} already, and nothing was created: delete it first, or use "
                    "another name"
                ) from error
            except RPCError as error:
                if error.status is RPCStatusCode.INVALID_ARGUMENT:
                    raise Refused(f"Temporal cannot use these times: {error.message}") from error
                if not unanswered(error):
                    raise
                lost = True
                continue
            break
        else:
            raise NoAnswer(
                f"Temporal did not answer whether the schedule {self.name!r} was created: show it before it is created "
                "again"
            )
        return await describe_schedule(self.client, self.name)

    async def _is_there(self, note: ScheduleNote) -> bool:
        try:
            return (await describe_schedule(self.client, self.name)).note.nonce == note.nonce
        except ScheduleNotFound:
            return False

    def _input(self, given: dict[str, Any], shown: StaticDetails, job: JobOptions | None) -> RequestsInput:
        what = StaticDetails(
            truncate_payload(f"schedule {self.name}: {shown.summary}", SUMMARY_BYTES),
            truncate_payload(f"By the schedule {markdown_code(self.name)}.\n\n{shown.details}", DETAILS_BYTES),
        )
        if job is None:
            return self.options.input_of(BatchInput, what, **given)
        of_job = {"shards": job.limits, "concurrency": job.concurrency, "retries": job.retries}
        return self.options.input_of(JobInput, what, **given, **of_job)

    def _action(self, given: RequestsInput, job: JobOptions | None) -> ScheduleActionStartWorkflow:
        # Without a retry policy: what a run fails for would fail it again, and it is the same submission.
        return ScheduleActionStartWorkflow(
            JOB_WORKFLOW_TYPE if job else WORKFLOW_TYPE,
            given,
            id=self.name,
            task_queue=self.options.task_queue,
            static_summary=given.static_summary,
            static_details=given.static_details,
        )


def check_name(name: str) -> None:
    """Raise `Refused` for a name whose runs would have workflow ids that mean something else."""
    if may_be_a_key(name):
        raise Refused(
            "The name of the schedule may be a key: your shell's history has it now, rotate it. Nothing was created"
        )
    if not _NAME.fullmatch(name) or attached_batch(name) or is_batch_id(name):
        raise Refused(
            f"{name[:100]!r} cannot be the name of a schedule: it takes up to 100 letters, digits, '.', '_' and '-', "
            "and begins neither with attach- nor with msgbatch_. Nothing was created"
        )


def _hours(wait: timedelta) -> str:
    minutes = wait.total_seconds() / 60
    return plural(int(minutes), "minute") if minutes >= 1 else f"{wait.total_seconds():g} s"
