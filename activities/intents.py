"""The decision before a POST: what the intents in the store say about other POSTs of the same requests.

Every run writes its intent first and then reads the others, so that of two runs with one workflow id at least one sees
the other: Temporal allows one at a time, but an activity may outlive its run, which was deleted or is not in a
database that was set back.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from activities.models import SubmitInput, Submitted
from message_batches.api.keys import Account
from message_batches.api.models import BATCH_LIFETIME
from message_batches.errors import InvalidRequests
from message_batches.models import Anchor, Manifest
from message_batches.results import reader
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionIntent, SubmissionRecord

CLOCK_SKEW = timedelta(seconds=10)
"""The most by which the clocks of workers and the Temporal server are expected to differ."""


@dataclass(frozen=True)
class Send:
    """Send the requests; `earlier` is the anchor of a POST that has created a batch as well, or may have."""

    earlier: Anchor | None = None


@dataclass(frozen=True)
class Take:
    """Take the batch that a concurrent POST of the same requests has created."""

    batch_id: str


@dataclass(frozen=True)
class Search:
    """Search for the batch of a POST that is over without an outcome, as for one of our own."""

    anchor: Anchor


@dataclass(frozen=True)
class Yield:
    """Send nothing while another POST may be under way."""


Decision = Send | Take | Search | Yield


def new_intent(given: SubmitInput) -> SubmissionIntent:
    """Return the intent of a POST that is about to be made."""
    return SubmissionIntent(
        workflow_id=given.submitter.workflow_id,
        first_run_id=given.submitter.first_run_id,
        number=given.number,
        anchor=given.anchor,
        sha256=given.manifest.sha256,
        content_sha256=given.manifest.content_sha256,
        time=datetime.now(UTC),
        timeout=given.timeout,
        nonce=uuid4().hex,
    )


async def landed_batches(store: Store, account: Account, records: Iterable[SubmissionRecord]) -> set[str]:
    """Return the batches of other POSTs whose results have landed."""
    named = {record.outcome.batch_id for record in records if record.outcome and record.outcome.batch_id}
    return {batch_id for batch_id in named if await reader.of_batch(store, batch_id, [account.part])}


def decide(
    intent: SubmissionIntent,
    own: Sequence[SubmissionRecord],
    others: Sequence[SubmissionRecord],
    began: datetime,
    landed: Collection[str] = (),
) -> Decision:
    """Decide on the POST of a new intent by the other records of the same custom_ids, read after it was written.

    Args:
        intent: of this POST.
        own: the records of this run.
        others: the records of other runs; those of other workflow ids and requests are submissions of their own, and
            of these the newest goes first.
        began: the run's start. A batch of an earlier run is not ours: a caller may start the same requests again.
        landed: batches whose results have landed. Another one of an earlier run may have been bought for nothing.
    """
    began -= CLOCK_SKEW
    earlier: list[Anchor] = []
    for record in sorted(others, key=lambda record: record.intent.time, reverse=True):
        other = record.intent
        if other.workflow_id != intent.workflow_id or not other.of_same_requests(intent) or record.created_nothing:
            continue
        over = other.time + other.timeout + CLOCK_SKEW
        batch_id = record.outcome.batch_id if record.outcome else None
        if batch_id and (other.time >= began or _has_yielded_to(other, own)):
            return Take(batch_id)
        if record.outcome is None and intent.time < over:
            return Yield()
        if record.outcome is None and over >= began and not _was_searched_for(other, own):
            return Search(other.anchor)
        if other.time >= intent.time - BATCH_LIFETIME and batch_id not in landed:
            earlier.append(other.anchor)
    # One of another account goes first: whether a batch is there cannot be seen from here, and that is to be said.
    return Send(min(earlier, key=lambda anchor: (_same_account(anchor, intent), anchor.created_at), default=None))


def from_earlier_record(earlier: SubmissionRecord, manifest: Manifest) -> Submitted:
    """Return what the record of an earlier POST of the same number says, made before a reset or a retry of the run."""
    if not earlier.intent.of_same_requests(manifest):
        raise InvalidRequests(
            f"The run {earlier.intent.workflow_id} has submitted other requests with the same custom_ids before it was "
            "reset or retried; nothing was sent now. Start these under another workflow id"
        )
    anchor, outcome = earlier.intent.anchor, earlier.outcome
    if outcome is None:
        return Submitted(earlier_anchor=anchor)
    if outcome.batch_id:
        return Submitted(earlier_anchor=anchor, recorded=outcome.batch_id)
    if outcome.created is False:
        return Submitted(earlier_anchor=anchor, earlier_not_created=True)
    return Submitted(earlier_anchor=anchor, earlier_absent=True)


def _same_account(anchor: Anchor, intent: SubmissionIntent) -> bool:
    return anchor.owner.conflict(intent.anchor.owner) is None


def _has_yielded_to(other: SubmissionIntent, own: Sequence[SubmissionRecord]) -> bool:
    """Return whether this run has seen another one's POST under way, and so waited for its outcome."""
    over = other.time + other.timeout + CLOCK_SKEW
    return any(
        record.outcome is not None and record.outcome.yielded and other.time - CLOCK_SKEW <= record.intent.time <= over
        for record in own
    )


def _was_searched_for(other: SubmissionIntent, own: Sequence[SubmissionRecord]) -> bool:
    """Return whether this run has searched for the batch of another one's POST, after that was over, and found none."""
    return any(
        record.may_have_created and record.outcome is not None and record.intent.time >= other.time + other.timeout
        for record in own
    )
