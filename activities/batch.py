"""The activities of the document's steps, each named as its stepId, and those before and alongside them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from temporalio import activity

from activities.failures import check_owner, check_store, errors_as_failures
from activities.intents import Search, Take, Yield, decide, from_earlier_record, landed_batches, new_intent
from activities.missing import find_landed_batch, find_landed_results, refuses_results
from activities.models import BatchRef, DeleteInput, Prepared, PrepareInput, RetrieveInput, SubmitInput, Submitted
from activities.requests import read_requests
from activities.timeouts import Upload, heartbeats, heartbeats_counting_lost_attempts, reply_deadline
from message_batches.api.interface import BatchApi
from message_batches.api.models import MessageBatch
from message_batches.api.polls import BatchPolls
from message_batches.contract import ActivityType
from message_batches.errors import (
    ApiError,
    ApiUnavailable,
    BatchNotFound,
    MessageBatchesError,
    NotSent,
    OwnedByAnotherRun,
    RequestRefused,
    SentByAnotherRun,
    StoreUnavailable,
)
from message_batches.models import Manifest
from message_batches.observability.metrics import LANDING, POLL_LATENESS
from message_batches.prices import PriceList
from message_batches.requests.estimate import check_limit, estimate_manifests, lowest_limit
from message_batches.requests.manifest import request_body
from message_batches.result_models import LandedResults
from message_batches.results import reader
from message_batches.results.landing import land, verify_landed
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionOutcome, SubmissionRecords
from message_batches.temporal.namespaces import NamespaceRecords
from message_batches.temporal.search_attributes import UsableAttributes
from message_batches.webhooks.interface import NoWebhooks, Webhooks, check_names

MAX_UPLOADS = 4
"""Large uploads of a worker to one server at a time: more would only share the uplink, and miss their deadlines
together. One that reads slowly keeps no other server's waiting."""

MAX_LARGE_CHECKS = 1
"""Files of more than 1 MiB that a worker checks at a time: one may be a single line, and is in memory as a whole."""

SMALL_BODY = 1024 * 1024
"""Bytes of a body up to which it need not wait for a slot."""

GONE_AFTER_ATTEMPTS = 4
"""Attempts to delete a batch, each answered by a 404, after which it is gone."""

RECORD_TIMEOUT = 10
"""Seconds that recording the outcome of a POST may delay its answer."""


class MessageBatchActivities:
    """The activities of the document's three steps, over an API and a store."""

    def __init__(
        self,
        api: BatchApi,
        store: Store,
        *,
        scratch: Path | None = None,
        prices: PriceList | None = None,
        max_cost: Decimal | None = None,
        webhooks: Webhooks | None = None,
    ) -> None:
        self._api = api
        self._polls = BatchPolls(api)
        self._store = store
        self._records = SubmissionRecords(store)
        self._accounts = AccountRecords(store)
        self._namespaces = NamespaceRecords(store)
        self._search_attributes = UsableAttributes()
        self._scratch = scratch
        self._prices = prices or PriceList()
        self._max_cost = max_cost
        self._webhooks = webhooks or NoWebhooks()
        self._uploads = {server: asyncio.Semaphore(MAX_UPLOADS) for server in (None, *api.servers)}
        self.large_checks = asyncio.Semaphore(MAX_LARGE_CHECKS)

    @activity.defn(name=ActivityType.PREPARE_REQUESTS)
    async def prepare_requests(self, given: PrepareInput) -> Prepared:
        """Check the requests, report all problems at once, and write them to the store as the run's manifest."""
        with errors_as_failures():
            self._api.check(given.profile)
            check_names(given.notify, self._webhooks)
            async with heartbeats_counting_lost_attempts():
                if given.store_id:
                    await check_store(self._store, given.store_id)
                store_id = await self._store.identity()
                await self._namespaces.record_once(activity.client())

                async def check(manifest: Manifest) -> None:
                    if given.to_send:
                        await self._check_cost(manifest, given.max_cost)

                manifest = await read_requests(
                    self._store, given, check, scratch=self._scratch, turns=self.large_checks
                )
                attributes = await self._search_attributes.names(activity.client())
                return Prepared(store_id=store_id, manifest=manifest, search_attributes=attributes)

    @activity.defn(name=ActivityType.SUBMIT_BATCH)
    async def submit_batch(self, given: SubmitInput) -> Submitted:
        """POST the requests once, with an intent in the store before it; no intent, no POST."""
        with errors_as_failures():
            async with heartbeats(), self._upload_slot(given):
                await check_store(self._store, given.manifest.store_id)
                upload = Upload(
                    request_body(self._store, given.manifest),
                    given.manifest.body_bytes,
                    started=activity.info().started_time,
                    timeout=given.timeout,
                )
                # Before the intent: a job that is started again with another key finds what it has sent with this one.
                await self._accounts.record(self._api.account(given.profile))
                intent = new_intent(given)
                if earlier := await self._records.record_intent(given.submitter, intent):
                    return from_earlier_record(earlier, given.manifest)
                try:
                    own, others = await self._records.posts_of(given.submitter)
                    landed = await landed_batches(self._store, self._api.account(given.profile), others)
                    match decision := decide(intent, own, others, given.began or intent.time, landed):
                        case Take(batch_id):
                            await self._record(given, SubmissionOutcome(batch_id=batch_id))
                            return Submitted(recorded=batch_id)
                        case Search(anchor):
                            return Submitted(earlier_anchor=anchor)
                        case Yield():
                            await self._record(given, SubmissionOutcome(created=False, yielded=True))
                            raise SentByAnotherRun(
                                "Another run with this workflow id, which Temporal no longer has, may be sending these "
                                "requests. Nothing was sent by this one, which waits until that POST is over"
                            )
                    if given.deadline and datetime.now(UTC) >= given.deadline:
                        raise NotSent("The deadline has passed while the POST waited for its turn. Nothing was sent")
                    async with upload.deadline():
                        await check_owner(self._api, given)
                        batch = await self._api.create(given.profile, upload.chunks(), given.manifest.body_bytes)
                except MessageBatchesError as error:
                    if not error.outcome_unknown:
                        await self._record(given, SubmissionOutcome(created=False))
                    raise
                activity.logger.info("Submitted", extra={"batch_id": batch.id})
                await self._record(given, SubmissionOutcome(batch_id=batch.id))
                return Submitted(batch=batch, earlier_anchor=decision.earlier)

    @activity.defn(name=ActivityType.POLL_BATCH_STATUS)
    async def poll_batch_status(self, batch: BatchRef) -> MessageBatch | None:
        """GET the batch once, or a page of the list for many whose polls fall together; None if it is as seen."""
        info, began = activity.info(), time.monotonic()
        # By the server's clock: the worker's may be off.
        waited = info.started_time - info.scheduled_time
        if info.attempt == 1:
            POLL_LATENESS.record(activity.metric_meter(), waited, stage="queue")
        with errors_as_failures(batch.batch_id, poll=info):
            try:
                async with reply_deadline():
                    found = await self._polls.retrieve(batch.profile, batch.batch_id)
            except BatchNotFound as error:
                # It may be gone because it is landed and deleted: a run that was reset since then polls it again.
                if batch.store_id is None:
                    raise
                async with heartbeats():
                    await check_store(self._store, batch.store_id)
                    account = self._api.account(batch.profile)
                    found = await find_landed_batch(self._store, account, batch.batch_id, error)
            answered = waited + timedelta(seconds=time.monotonic() - began)
            POLL_LATENESS.record(activity.metric_meter(), answered, stage="answer")
            activity.logger.debug("Polled")
            found = found.model_copy(update={"server": self._api.server(batch.profile)})
            return None if found.fingerprint == batch.seen and not found.ended else found

    @activity.defn(name=ActivityType.RETRIEVE_RESULTS)
    async def retrieve_results(self, given: RetrieveInput) -> LandedResults:
        """Stream the results into the store: checked, in the order of the requests, published once."""
        began = time.monotonic()
        with errors_as_failures(given.batch_id):
            async with heartbeats():
                await check_store(self._store, given.store_id)
                try:
                    landed = await self._land(given, self._api.results(given.profile, given.batch_id))
                except ApiError as error:
                    if not refuses_results(error):
                        raise
                    landed = await self._land_without_api(given, error)
            activity.logger.info("Landed %d lines", landed.results_file.lines)
        LANDING.record(activity.metric_meter(), timedelta(seconds=time.monotonic() - began))
        return landed

    @activity.defn(name=ActivityType.CANCEL_BATCH)
    async def cancel_batch(self, batch: BatchRef) -> MessageBatch:
        """Cancel the batch at the provider; one that has ended already is left as it is."""
        with errors_as_failures(batch.batch_id):
            async with heartbeats():
                try:
                    stopped = await self._api.cancel(batch.profile, batch.batch_id)
                    activity.logger.info("Stopped the batch at the provider")
                    return stopped
                except (RequestRefused, ApiUnavailable):
                    # The API's answer for a batch that has ended, or is being cancelled already, is not documented.
                    current = await self._api.retrieve(batch.profile, batch.batch_id)
                    if current.processing_status == "in_progress":
                        raise
                    return current

    @activity.defn(name=ActivityType.DELETE_BATCH)
    async def delete_batch(self, given: DeleteInput) -> None:
        """Delete the batch at the provider, once the landed file has been read again and is whole."""
        with errors_as_failures():
            async with heartbeats():
                await check_store(self._store, given.store_id)
                claim = await self._records.claim_of(self._api.account(given.profile), given.batch_id)
                # Temporal has one run of a workflow id at a time: an earlier one of ours, whose batch this run has
                # taken or attached to, lands nothing any more.
                if claim and claim.owner != given.claim.owner:
                    raise OwnedByAnotherRun(
                        f"It is the batch of the run {claim.owner}, which may not have landed it yet"
                    )
                await verify_landed(self._store, given.results_file)
                try:
                    await self._api.delete(given.profile, given.batch_id)
                except BatchNotFound:
                    # The API occasionally answers 404 for a batch that exists.
                    if activity.info().attempt < GONE_AFTER_ATTEMPTS:
                        raise
                    await check_owner(self._api, given)
                    activity.logger.info("Batch %s is gone already", given.batch_id)

    async def _land(
        self, given: RetrieveInput, results: AbstractAsyncContextManager[AsyncIterator[bytes]]
    ) -> LandedResults:
        return await land(
            self._store,
            results,
            account=await self._accounts.record(self._api.account(given.profile)),
            batch_id=given.batch_id,
            manifest=given.manifest,
            expected_count=given.expected_count,
            scratch=self._scratch,
            keep_partial=given.keep_partial,
            compare=given.compare,
            prices=self._prices,
            hidden=self._api.hidden(given.profile),
        )

    async def _check_cost(self, manifest: Manifest, asked: Decimal | None) -> None:
        """Raise `CostLimitExceeded` unless the requests cost at most what the run, and this worker, allow."""
        limit = lowest_limit(asked, self._max_cost)
        if limit is None:
            return
        async with self.large_checks if manifest.body_bytes > SMALL_BODY else nullcontext():
            estimate = await estimate_manifests(self._store, [manifest], self._prices)
        check_limit(estimate, *limit)

    async def _land_without_api(self, given: RetrieveInput, error: ApiError) -> LandedResults:
        """Land what another run has landed of a batch that no longer has results; else raise why there are none."""
        landed = await find_landed_results(self._store, self._api, given.profile, given.batch_id, error)
        if given.manifest is None:
            return landed
        return await self._land(given, nullcontext(reader.results_in(self._store, landed.results_file)))

    @asynccontextmanager
    async def _upload_slot(self, given: SubmitInput) -> AsyncIterator[None]:
        """Wait for a large upload's turn, at most half of its time: the rest is for the upload itself."""
        if given.manifest.body_bytes <= SMALL_BODY:
            yield
            return
        uploads = self._uploads[self._api.server(given.profile)]
        try:
            async with asyncio.timeout(given.timeout.total_seconds() / 2):
                await uploads.acquire()
        except TimeoutError as error:
            raise NotSent("This worker is busy with other uploads; nothing was sent yet") from error
        try:
            yield
        finally:
            uploads.release()

    async def _record(self, given: SubmitInput, outcome: SubmissionOutcome) -> None:
        """Record as far as the store allows: the run records a batch again; until then the POST counts as undecided."""
        try:
            async with asyncio.timeout(RECORD_TIMEOUT):
                while True:
                    with suppress(StoreUnavailable):
                        await self._records.record_outcome(given.submitter, given.number, outcome)
                        if outcome.batch_id:
                            account = self._api.account(given.profile)
                            await self._records.claim(account, outcome.batch_id, given.submitter.claim)
                        return
                    await asyncio.sleep(1)
        except TimeoutError:
            activity.logger.warning("The store did not take the outcome of POST %d yet", given.number)
