"""The activities of the submission protocol: the anchor, the list of candidates, the proof, the claim."""

import time
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

from temporalio import activity

from activities.failures import check_store, errors_as_failures
from activities.models import (
    AdoptInput,
    CandidateMatch,
    FindCandidatesInput,
    FindCandidatesResult,
    PostWindow,
    RecordOutcomeInput,
    VerifyCandidateInput,
)
from activities.timeouts import heartbeats, reply_deadline
from message_batches.api.interface import BatchApi
from message_batches.api.models import ApiProfile, KeyOwner, MessageBatch
from message_batches.contract import ActivityType
from message_batches.errors import OtherWorkspace, OwnedByAnotherRun, ReplyLost
from message_batches.models import Anchor, Candidate
from message_batches.results.expectations import read_expected
from message_batches.results.ownership import are_ours
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import (
    CLOCK_MARGIN,
    BatchClaim,
    SubmissionOutcome,
    SubmissionRecord,
    SubmissionRecords,
    may_stem_from,
)

LIST_OVERLAP = timedelta(minutes=5)
"""The time past the anchor to which the list is read: it need not be in the exact order of `created_at`."""

PAGE_SIZE = 100
MAX_LISTED = 20_000
"""Most batches listed since a POST; a longer list is not trusted: a gateway may ignore the cursor."""

MAX_RIVALS = 3
"""The number of rivals that are named: one is enough to decide."""


class SubmissionActivities:
    """The activities of the submission protocol, over an API and a store."""

    def __init__(self, api: BatchApi, store: Store) -> None:
        self._api = api
        self._store = store
        self._records = SubmissionRecords(store)

    @activity.defn(name=ActivityType.FIND_ANCHOR)
    async def find_anchor(self, profile: ApiProfile) -> Anchor:
        """Return the account's newest batch; without any, the API's clock less the overlap of the list."""
        with errors_as_failures():
            async with reply_deadline():
                page = await self._api.list(profile, limit=1)
            account = page.owner._asdict()
            if page.data:
                return Anchor(batch_id=page.data[0].id, created_at=page.data[0].created_at, **account)
            return Anchor(created_at=(page.date or datetime.now(UTC)) - LIST_OVERLAP, **account)

    @activity.defn(name=ActivityType.FIND_CANDIDATES)
    async def find_candidates(self, given: FindCandidatesInput) -> FindCandidatesResult:
        """Return the batches of our count created when ours must have been, with what the store knows of them."""
        began = time.monotonic()
        with errors_as_failures():
            async with heartbeats():
                await check_store(self._store, given.manifest.store_id)
                read_at = activity.info().started_time
                known = await self._records.outcome(given.submitter, given.number)
                if known and known.batch_id:
                    return FindCandidatesResult(read_at=read_at, recorded=known.batch_id)
                batches = await self._created_since(given, began)
                # Read after the list: the run that created one of these batches had written an intent before.
                mine, others = await self._records.own_and_other_posts(given.submitter) if batches else ([], [])
                found = [await self._match(batch, given, others) for batch in batches]
                return FindCandidatesResult(
                    read_at=read_at,
                    server=self._api.server(given.profile),
                    matches=tuple(sorted(found, key=lambda match: match.candidate.created_at)),
                    posts=sum(not record.created_nothing for record in mine),
                )

    @activity.defn(name=ActivityType.VERIFY_CANDIDATE)
    async def verify_candidate(self, given: VerifyCandidateInput) -> bool:
        """Return whether a batch's results are for exactly our custom_ids, and may be answers to our requests."""
        with errors_as_failures(given.batch_id):
            async with heartbeats():
                await check_store(self._store, given.manifest.store_id)
                expected = await read_expected(self._store, given.manifest)
                async with self._api.results(given.profile, given.batch_id) as chunks:
                    return await are_ours(chunks, expected)

    @activity.defn(name=ActivityType.FIND_BATCH_TO_ADOPT)
    async def find_batch_to_adopt(self, given: AdoptInput) -> MessageBatch:
        """Return the batch that an operator named.

        Raises `OwnedByAnotherRun` if another run has claimed it, `OtherWorkspace` if it is in another account than the
        one that the requests were sent to.
        """
        with errors_as_failures(given.batch_id):
            if given.store_id:
                await check_store(self._store, given.store_id)
            async with reply_deadline():
                batch = await self._api.retrieve(given.profile, given.batch_id)
            if given.anchor and (owner := self._api.owner(given.profile)):
                _check_account(given.profile, given.anchor, owner)
            claim = await self._records.claim_of(self._api.account(given.profile), given.batch_id)
            if _is_taken(claim, given.claim):
                raise OwnedByAnotherRun(f"{given.batch_id} is the batch of the run {claim.owner}")
            return batch

    @activity.defn(name=ActivityType.RECORD_OUTCOME)
    async def record_outcome(self, given: RecordOutcomeInput) -> bool:
        """Record the outcome of the POSTs and claim the batch; return whether the claim is ours."""
        with errors_as_failures(given.batch_id):
            await check_store(self._store, given.store_id)
            ours = given.batch_id is None or await self._claim(given.profile, given.batch_id, given.claim)
            if given.submitter and (ours or given.certain):
                for number in given.numbers:
                    await self._records.record_outcome(
                        given.submitter, number, SubmissionOutcome(batch_id=given.batch_id)
                    )
            return ours

    async def _claim(self, profile: ApiProfile, batch_id: str, claim: BatchClaim) -> bool:
        owner = await self._records.claim(self._api.account(profile), batch_id, claim)
        ours = owner.of_same_run(claim)
        if not ours:
            activity.logger.warning("The batch is claimed by %r already", owner.owner, extra={"batch_id": batch_id})
        return ours

    async def _created_since(self, given: FindCandidatesInput, began: float) -> list[MessageBatch]:
        """Read the list back to the anchor, page by page; return the batches of our count in the time of the POST.

        Args:
            given: the POSTs.
            began: when this activity began, by this process's monotonic clock.
        """
        anchor = given.anchor
        found: list[MessageBatch] = []
        seen: set[str] = set()
        after: str | None = None
        ahead: timedelta | None = None
        while True:
            page = await self._api.list(given.profile, limit=PAGE_SIZE, after_id=after)
            _check_account(given.profile, given.anchor, page.owner)
            if ahead is None and page.date:
                # The API's clock may be off from the server's, on which the times of the POSTs were read.
                now = activity.info().started_time + timedelta(seconds=time.monotonic() - began)
                ahead = page.date - now
            new = {batch.id for batch in page.data} - seen
            seen |= new
            if page.data and (not new or len(seen) > MAX_LISTED):
                # A list cut off before our batch would have it submitted, and charged, again.
                raise ReplyLost(f"The list of batches does not end: {len(seen):,} ids, and more to come")
            found += [b for b in page.data if b.id in new and _may_be_of(given, b, ahead)]
            past = any(batch.created_at < anchor.created_at - LIST_OVERLAP for batch in page.data)
            if past or not page.has_more or not page.data:
                return [b for b in found if b.id != anchor.batch_id and b.request_counts.total == given.manifest.count]
            after = page.last_id or page.data[-1].id

    async def _match(
        self, batch: MessageBatch, given: FindCandidatesInput, others: list[SubmissionRecord]
    ) -> CandidateMatch:
        who = given.submitter
        claim = await self._records.claim_of(self._api.account(given.profile), batch.id)
        # A run with this workflow id and these requests, which Temporal no longer has, is no rival.
        foreign = [
            record
            for record in others
            if record.intent.workflow_id != who.workflow_id or not record.intent.of_same_requests(given.manifest)
        ]
        named = any(record.outcome and record.outcome.batch_id == batch.id for record in foreign)
        rivals = {
            record.intent.workflow_id
            for record in foreign
            if record.may_have_created and may_stem_from(record, batch.created_at)
        }
        if claim and claim.attached and not claim.of_same_run(who.claim):
            rivals.add(claim.owner)
        # The last search, for what was paid for twice, also names the batch that such a run has claimed.
        taken = _is_taken(claim, who.claim) and (bool(given.number) or claim.owner != who.workflow_id)
        return CandidateMatch(
            candidate=Candidate(
                batch_id=batch.id, created_at=batch.created_at, processing_status=batch.processing_status
            ),
            taken=named or taken,
            rivals=tuple(sorted(rivals)[:MAX_RIVALS]),
        )


def _check_account(profile: ApiProfile, anchor: Anchor, owner: KeyOwner) -> None:
    """Raise `OtherWorkspace` if the key is of another account now than when the requests were sent."""
    if conflict := anchor.owner.conflict(owner):
        what, then, now = conflict
        raise OtherWorkspace(
            f"The key {profile.api_key!r} is of the {what} {now} now, and the requests were sent to {then}: "
            f"whether they made a batch there cannot be seen from here. Give the workers a key of {then} again"
        )


def _may_be_of(given: FindCandidatesInput, batch: MessageBatch, ahead: timedelta | None) -> bool:
    """Return whether a batch was created in the time of the POSTs.

    The API's clock is `ahead` of the Temporal server's, now, if the answer's `Date` is the API's: it may have been less
    at the time of the POST, or be a gateway's, so that it never narrows the time. None without a `Date`.
    """
    created_at = batch.created_at
    earliest = created_at - (CLOCK_MARGIN if ahead is None else max(ahead, timedelta(0)))
    latest = created_at + (CLOCK_MARGIN if ahead is None else max(-ahead, timedelta(0)))
    windows = given.windows or (PostWindow(until=given.until),)
    return created_at >= given.anchor.created_at and any(window.admits(earliest, latest) for window in windows)


def _is_taken(claim: BatchClaim | None, ours: BatchClaim) -> TypeGuard[BatchClaim]:
    """Return whether another run has claimed a batch as its sender; an attached run may not be the sender."""
    return claim is not None and not claim.attached and not claim.of_same_run(ours)
