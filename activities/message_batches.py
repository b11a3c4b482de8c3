"""The steps of the document, and what goes before and beside them: one method each, named as the stepId."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio import activity

from activities.failures import as_failures
from activities.heartbeats import beating
from activities.inputs import BatchRef, Prepared, PrepareInput, RetrieveInput, SubmitInput, Submitted
from activities.store_access import own_store
from message_batches.errors import (
    MessageBatchesError,
    NotSent,
    ReplyLost,
    RequestRefused,
    RequestsNotFound,
    StoreUnavailable,
)
from message_batches.landing import land
from message_batches.ledger import Intent, Ledger, Outcome, Record
from message_batches.manifest import body, load_manifest, write_inline
from message_batches.models import Landed, MessageBatch
from message_batches.ports import BatchApi, Store


class MessageBatchActivities:
    """The activities of the document's three steps, over an API and a store."""

    def __init__(self, api: BatchApi, store: Store, *, scratch: Path | None = None) -> None:
        self._api = api
        self._store = store
        self._ledger = Ledger(store)
        self._scratch = scratch
        # Several landings at once would fill the scratch disk; one at a time keeps it to the largest batch.
        self._landing = asyncio.Lock()

    @activity.defn(name="prepareRequests")
    async def prepare_requests(self, given: PrepareInput) -> Prepared:
        """Check the requests, all problems at once, and write them to the store as the run's manifest."""
        with as_failures():
            self._api.check(given.account)
            async with beating():
                store_id = await self._store.identity()
                if given.store_id:
                    await own_store(self._store, given.store_id)
                if given.requests is not None:
                    manifest = await write_inline(self._store, given.requests, scratch=self._scratch)
                elif given.requests_uri is not None:
                    manifest = await load_manifest(self._store, given.requests_uri, scratch=self._scratch)
                else:
                    manifest = None
                return Prepared(store_id=store_id, manifest=manifest)

    @activity.defn(name="submitBatch")
    async def submit_batch(self, given: SubmitInput) -> Submitted:
        """POST the requests once, with an intent in the store before it; no intent, no POST."""
        with as_failures():
            deadline = Deadline(activity.info().started_time + given.timeout, given.timeout)
            await own_store(self._store, given.manifest.store_id)
            async with beating():
                intent = Intent(
                    workflow_id=given.submitter.workflow_id,
                    first_run_id=given.submitter.first_run_id,
                    number=given.number,
                    anchor=given.anchor,
                    sha256=given.manifest.sha256,
                    time=datetime.now(UTC),
                    timeout=given.timeout,
                )
                earlier = await self._ledger.intend(given.submitter, intent)
                if earlier:
                    return _left_behind(earlier)
                try:
                    return Submitted(batch=await self._post(given, deadline))
                except MessageBatchesError as error:
                    if not error.outcome_unknown:
                        await self._note_not_created(given)
                    raise

    @activity.defn(name="pollBatchStatus")
    async def poll_batch_status(self, batch: BatchRef) -> MessageBatch:
        """GET the batch once."""
        with as_failures():
            return await self._api.retrieve(batch.account, batch.batch_id)

    @activity.defn(name="retrieveResults")
    async def retrieve_results(self, given: RetrieveInput) -> Landed:
        """Stream the results into the store: checked, in the order of the requests, published once."""
        with as_failures():
            async with beating(), self._landing:
                await own_store(self._store, given.store_id)
                return await land(
                    self._store,
                    self._api.results(given.account, given.batch_id),
                    batch_id=given.batch_id,
                    manifest=given.manifest,
                    expected_count=given.expected_count,
                    scratch=self._scratch,
                    keep_partial=given.keep_partial,
                )

    @activity.defn(name="cancelBatch")
    async def cancel_batch(self, batch: BatchRef) -> MessageBatch:
        """Stop the batch at the provider; one that has ended already is left as it is."""
        with as_failures():
            current = await self._api.retrieve(batch.account, batch.batch_id)
            if current.processing_status != "in_progress":
                return current
            try:
                return await self._api.cancel(batch.account, batch.batch_id)
            except RequestRefused:
                # It may have ended between the two calls.
                current = await self._api.retrieve(batch.account, batch.batch_id)
                if current.ended:
                    return current
                raise

    async def _post(self, given: SubmitInput, deadline: "Deadline") -> MessageBatch:
        if not deadline.left():
            raise NotSent(
                "The POST's deadline had passed before it began; nothing was sent. If this goes on, this worker's clock "
                "is ahead of the Temporal server's"
            )
        chunks = deadline.guard(body(self._store, given.manifest))
        try:
            async with asyncio.timeout(deadline.left()):
                return await self._api.create(given.account, chunks, given.manifest.body_bytes)
        except TimeoutError as error:
            raise ReplyLost(f"The API did not answer the POST within {given.timeout}") from error

    async def _note_not_created(self, given: SubmitInput) -> None:
        """Best effort: without the note the POST counts as undecided, which is slower and safe."""
        try:
            await self._ledger.settle(given.submitter, given.number, Outcome(created=False))
        except StoreUnavailable:
            activity.logger.warning("The store did not take the note that POST %d created nothing", given.number)


class Deadline:
    """The moment after which nothing of a POST may be sent, by the server's clock and by this process's own.

    A worker that was frozen finds both clocks moved on; one whose task was handed over late finds the first.
    """

    def __init__(self, at: datetime, timeout: timedelta) -> None:
        self._at = at
        self._monotonic = time.monotonic() + timeout.total_seconds()

    def left(self) -> float:
        """Seconds until the deadline, 0 after it."""
        by_clock = (self._at - datetime.now(UTC)).total_seconds()
        return max(0.0, min(by_clock, self._monotonic - time.monotonic()))

    async def guard(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks, each handed out only before the deadline."""
        async for chunk in chunks:
            if not self.left():
                raise ReplyLost("The POST was still under way at its deadline: the rest of the body was not sent")
            yield chunk


def _left_behind(earlier: Record) -> Submitted:
    """What an intent of the same number tells: it stems from this run before a reset or a retry."""
    outcome = earlier.outcome
    if outcome is None:
        return Submitted(earlier_anchor=earlier.intent.anchor)
    if outcome.batch_id:
        return Submitted(recorded=outcome.batch_id)
    if outcome.created is False:
        return Submitted(earlier_not_created=True)
    return Submitted(earlier_absent=True)
