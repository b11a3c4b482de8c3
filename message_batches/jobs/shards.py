"""The state of a job's shards, from the store and Temporal: what has landed, runs, is to be sent, or needs an operator.

It does not depend on what the job itself remembers: one that was terminated, or started again, finds its shards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from message_batches.contract import ActivityType, NextAction
from message_batches.job_models import ShardRecord, ShardState, ShardStatus, shard_workflow_id
from message_batches.jobs.records import JobRecords
from message_batches.models import BatchOutput, Manifest, Phase
from message_batches.result_models import LandedResults, Summary
from message_batches.results import reader
from message_batches.runs.control import NoAnswer, Refused, Runs
from message_batches.runs.deduplication import (
    BatchKnown,
    Finished,
    NeverSent,
    OutcomeUnknown,
    Running,
    judge_prior_run,
    key_of_batch,
)
from message_batches.runs.describe import RunNotFound, RunStatus, RunView, describe_execution, find_run
from message_batches.runs.history import read_start
from message_batches.storage import groups
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecord, SubmissionRecords
from message_batches.temporal.search_attributes import BATCH_STATUS, NEEDS_ATTENTION

OTHER_REQUESTS = "OtherRequests"
"""The type of a shard's failure whose workflow id is taken by a run of other requests."""

_ENDINGS: Mapping[ShardStatus, tuple[str, NextAction | None]] = {
    ShardStatus.FAILED: ("EndedWithoutResults", None),
    ShardStatus.BATCH_LEFT: ("EndedWithoutResults", NextAction.ATTACH),
    ShardStatus.UNKNOWN: ("SubmissionUnknown", NextAction.CHECK_BATCHES),
}
"""The type of a failure, and the next step, of a shard whose run does not name them, or is no longer in Temporal."""

_MAX_KNOWN = 10_000


@dataclass(frozen=True)
class Shard:
    """A shard by its place in the job.

    Attributes:
        manifest: its requests.
    """

    job_id: str
    wave: int
    number: int
    manifest: Manifest

    @property
    def workflow_id(self) -> str:
        """The workflow id of its run."""
        return shard_workflow_id(self.job_id, self.wave, self.number)


class ShardReader:
    """Reads the state of shards: one call of Temporal's for each that runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._submissions = SubmissionRecords(store)
        self._known: dict[tuple[str, str], bool] = {}
        """By run and manifest, whether the run has these requests: that never changes."""

    async def read(self, client: Client, records: JobRecords, shard: Shard, api_key: str) -> ShardState:
        """Return the state of a shard; one whose run has completed is recorded as landed."""
        record = await records.landed(shard.wave, shard.number)
        if record and await reader.has_file(self._store, record.results_file):
            return landed_state(record, shard)
        info = await _info(client, shard.workflow_id)
        ours = info is not None and await self._is_ours(client, info, shard)
        if info and RunStatus.of(info).running:
            return _state(shard, ShardStatus.RUNNING, attention=_attention(info)) if ours else _taken(shard)
        view = await find_run(client, shard.workflow_id) if ours else None
        if view and view.running:
            return _state(shard, ShardStatus.RUNNING)
        submitted = await self.submitted(shard)
        match await judge_prior_run(client, self._store, shard.manifest, api_key, shard.workflow_id, view, submitted):
            case Running(attached):
                return _state(shard, ShardStatus.RUNNING, workflow_id=attached.workflow_id)
            case Finished(workflow_id, landed):
                new = record_of(shard, workflow_id, landed)
                await records.record_landed(new, instead_of=record)
                return landed_state(new, shard)
            case BatchKnown(batch_id, reason):
                sent_with = key_of_batch(submitted, batch_id)
                found = _ended(shard, ShardStatus.BATCH_LEFT, view, reason, batch_id=batch_id)
                return found if sent_with in (None, api_key) else _of_another_key(found, sent_with, api_key)
            case NeverSent() | OutcomeUnknown() if record:
                # The job's base has landed it, or nothing else was kept for so long: it was paid for all the same.
                gone = f"its landed results are gone from the store: {record.results_file.uri}"
                return _ended(shard, ShardStatus.BATCH_LEFT, view, gone, batch_id=record.batch_id)
            case OutcomeUnknown(reason, candidates):
                return _ended(shard, ShardStatus.UNKNOWN, view, reason, candidates=candidates)
            case NeverSent(None):
                return _state(shard, ShardStatus.NEW)
            case NeverSent():
                return _ended(shard, ShardStatus.FAILED, view, "It ended before anything was sent")

    async def submitted(self, shard: Shard) -> list[SubmissionRecord]:
        """Return the POSTs of the shard's own requests: other ones may have been sent under its workflow id.

        Those with any key: a job may be started again with another one than it had.
        """
        found = await self._submissions.records_of_workflow(shard.manifest, workflow_id=shard.workflow_id)
        return [record for record in found if record.intent.of_same_requests(shard.manifest)]

    async def _is_ours(self, client: Client, info: WorkflowExecutionInfo, shard: Shard) -> bool:
        """Return whether a run has the shard's requests; a caller may start jobs of others under one workflow id."""
        key = info.execution.run_id, shard.manifest.sha256
        if key not in self._known:
            start = await read_start(client, shard.workflow_id)
            own = groups.GroupKey.of_manifest(shard.manifest.sha256)
            named = {groups.manifest_at(uri) for uri in start.requests_uris}
            others = start.requests is not None or bool(named and own not in named)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = not others
        return self._known[key]


async def stop_shard(client: Client, store: Store, workflow_id: str) -> bool:
    """Stop a shard's batch at the provider; cancel its run where there is no batch yet.

    A run that has ended, or is landing its results, is left as it is. Returns False if it is to be asked again: it gave
    no answer, or is just now getting its batch, of which what finishes can still be landed.
    """
    runs = Runs(client, store)
    try:
        try:
            await runs.cancel_batch(workflow_id)
            return True
        except Refused:
            submitting = await _is_submitting(client, workflow_id)
            view = await find_run(client, workflow_id)
        if view is None or not view.running:
            return True
        if view.batch_id is None and not submitting:
            await runs.abandon(workflow_id)
            return True
    except NoAnswer:
        return False
    return view.progress is not None and view.progress.phase is Phase.RETRIEVING


async def cancel_shard(client: Client, store: Store, workflow_id: str) -> None:
    """Cancel a shard's run, which cancels its batch at the provider; one that is over is left as it is."""
    try:
        await Runs(client, store).abandon(workflow_id)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


def record_of(shard: Shard, workflow_id: str, landed: LandedResults | BatchOutput) -> ShardRecord:
    """Return the record of a landed shard: without its results, which may be part of what has landed."""
    return ShardRecord(
        wave=shard.wave,
        number=shard.number,
        workflow_id=workflow_id,
        batch_id=landed.batch_id,
        requests=shard.manifest.count,
        results_file=landed.results_file,
        summary=landed.summary,
        cost=landed.cost,
        possibly_paid_twice=landed.possibly_paid_twice if isinstance(landed, BatchOutput) else (),
    )


def usable_of(summary: Summary) -> int:
    """Return how many replies are whole; an older version has not counted these among those that succeeded."""
    return summary.counts.succeeded if summary.usable is None else summary.usable


def landed_state(record: ShardRecord, shard: Shard) -> ShardState:
    """Return the state of a landed shard; one that the job's base has landed costs the job nothing."""
    cost = record.cost.amount if record.cost else None
    return ShardState(
        number=record.number,
        workflow_id=record.workflow_id,
        status=ShardStatus.LANDED,
        requests_uri=shard.manifest.uri,
        requests=record.requests,
        usable=usable_of(record.summary),
        cost=cost if record.workflow_id == shard.workflow_id else Decimal(0),
        batch_id=record.batch_id,
    )


def _state(
    shard: Shard,
    status: ShardStatus,
    *,
    workflow_id: str | None = None,
    attention: str | None = None,
    batch_id: str | None = None,
    kind: str | None = None,
    message: str | None = None,
    candidates: Sequence[str] = (),
    action: NextAction | None = None,
) -> ShardState:
    return ShardState(
        number=shard.number,
        workflow_id=workflow_id or shard.workflow_id,
        status=status,
        requests_uri=shard.manifest.uri,
        requests=shard.manifest.count,
        attention=attention,
        batch_id=batch_id,
        type=kind,
        message=message,
        candidates=tuple(candidates),
        action=action,
    )


def _ended(
    shard: Shard,
    status: ShardStatus,
    view: RunView | None,
    reason: str,
    *,
    batch_id: str | None = None,
    candidates: Sequence[str] = (),
) -> ShardState:
    """Return the state of a shard whose run has ended, with the run's own failure where Temporal has it."""
    failure = view.failure if view else None
    kind, action = _ENDINGS[status]
    return _state(
        shard,
        status,
        batch_id=batch_id,
        kind=failure.kind if failure else kind,
        message=failure.message if failure else reason,
        candidates=candidates or (failure.candidates if failure else ()),
        action=(failure and failure.action) or action,
    )


def _of_another_key(found: ShardState, sent_with: str, api_key: str) -> ShardState:
    """Return the state of a left batch that was sent with another key than the job's, maybe of another account."""
    message = (
        f"{(found.message or '').rstrip('.')}. It was sent with the key {sent_with!r}, and the job has {api_key!r}: if "
        "that is of another account, give the workers the first one again"
    )
    return found.model_copy(update={"message": message, "api_key": sent_with})


def _taken(shard: Shard) -> ShardState:
    return _state(
        shard,
        ShardStatus.FAILED,
        kind=OTHER_REQUESTS,
        message=(
            f"A run of other requests is under way under the workflow id {shard.workflow_id}. It has sent nothing of "
            "this shard: wait for its end, or start the job under another workflow id"
        ),
    )


def _attention(info: WorkflowExecutionInfo) -> str | None:
    """Return why a run needs an operator; None where the namespace lacks the attribute that tells."""
    status = decode_typed_search_attributes(info.search_attributes).get(BATCH_STATUS)
    return status if status in NEEDS_ATTENTION else None


async def _is_submitting(client: Client, workflow_id: str) -> bool:
    """Return whether a POST of a run is under way."""
    try:
        described = await describe_execution(client, workflow_id)
    except RunNotFound:
        return False
    return any(each.activity_type.name == ActivityType.SUBMIT_BATCH for each in described.pending_activities)


async def _info(client: Client, workflow_id: str) -> WorkflowExecutionInfo | None:
    try:
        return (await describe_execution(client, workflow_id)).workflow_execution_info
    except RunNotFound:
        return None
