"""The times of a run and of its batch, from the store and from Temporal, as far as each knows them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from message_batches.contract import ActivityType
from message_batches.job_models import MergedResults
from message_batches.report.charts import TimeBar, time_bar
from message_batches.result_models import LandedResults
from message_batches.runs.describe import RunView
from message_batches.runs.history import read_progress
from message_batches.storage.groups import PathKind, parse_path
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecords


@dataclass(frozen=True)
class Moments:
    """The times of a run and of its batch, as far as they are known.

    Attributes:
        polls: how many found the batch unfinished; None where Temporal no longer knows the run.
        polled: the times of those that the history still has.
    """

    started: datetime | None = None
    submitted: datetime | None = None
    ended: datetime | None = None
    landed: datetime | None = None
    polls: int | None = None
    polled: tuple[datetime, ...] = ()

    @property
    def named(self) -> dict[str, datetime]:
        """The moments that are known, in their order."""
        named = {
            "run started": self.started,
            "submitted": self.submitted,
            "batch ended": self.ended,
            "results landed": self.landed,
        }
        return {name: moment for name, moment in named.items() if moment}

    @property
    def bar(self) -> TimeBar | None:
        """The span from the first to the last of them, each part named by what begins with it."""
        parts = {"submit": self.started, "process": self.submitted, "land": self.ended, "end": self.landed}
        return time_bar(parts, self.polled)


class JobMoments(Moments):
    """The times of a job: `submitted` is its first plan, `ended` when its last shard landed, `polled` each of these."""

    @property
    def named(self) -> dict[str, datetime]:
        """The moments that are known, in their order."""
        named = {
            "job started": self.started,
            "first wave planned": self.submitted,
            "last shard landed": self.ended,
            "results merged": self.landed,
        }
        return {name: moment for name, moment in named.items() if moment}


async def moments_of_job(store: Store, merged: MergedResults, started: datetime | None) -> JobMoments:
    """Read what the store knows of the times of a job: when it was planned, its shards landed, and were merged."""
    name = store.name(merged.results_file.uri)
    times: dict[PathKind, list[datetime]] = {}
    async for page in store.listing(name.rpartition("/")[0]):
        for stored in page:
            parsed = parse_path(stored.name)
            if parsed and (parsed.kind is not PathKind.RESULTS or stored.name == name):
                times.setdefault(parsed.kind, []).append(stored.modified)
    return JobMoments(
        started=started,
        submitted=min(times.get(PathKind.PLAN, []), default=None),
        ended=max(times.get(PathKind.SHARD, []), default=None),
        landed=max(times.get(PathKind.RESULTS, []), default=None),
        polled=tuple(sorted(times.get(PathKind.SHARD, []))),
    )


async def moments_in_store(store: Store, landed: LandedResults) -> Moments:
    """Read what the store knows of the times of a batch: when it was sent, and when its results landed."""
    records = SubmissionRecords(store)
    owners = {owner.workflow_id for owner in await records.owners_of(landed.batch_id)}
    posts = [each for every in (await records.records_of_workflows(owners)).values() for each in every]
    sent = [post.intent.time for post in posts if post.outcome and post.outcome.batch_id == landed.batch_id]
    name = store.name(landed.results_file.uri)
    modified = [
        stored.modified
        async for page in store.listing(name.rpartition("/")[0])
        for stored in page
        if stored.name == name
    ]
    return Moments(submitted=max(sent, default=None), landed=max(modified, default=None))


async def moments_in_history(client: Client, run: RunView, store: Moments) -> Moments:
    """Read the times in a run's history, and take what it does not have from the store."""
    progress = await read_progress(client, run.workflow_id)
    types: dict[int, str] = {}
    done: dict[str, list[datetime]] = {}
    async for event in client.get_workflow_handle(run.workflow_id, run_id=run.run_id).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            types[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            kind = types.get(event.activity_task_completed_event_attributes.scheduled_event_id, "")
            done.setdefault(kind, []).append(event.event_time.ToDatetime(tzinfo=UTC))
    return Moments(
        started=run.started,
        submitted=max(done.get(ActivityType.SUBMIT_BATCH, []), default=store.submitted),
        ended=progress.ended_at,
        landed=max(done.get(ActivityType.RETRIEVE_RESULTS, []), default=store.landed),
        polls=progress.polls,
        polled=tuple(done.get(ActivityType.POLL_BATCH_STATUS, [])),
    )
