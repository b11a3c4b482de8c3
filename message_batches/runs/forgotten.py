"""Submissions that the store has a record of and Temporal no run: after a lost database, or a history that expired."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from message_batches.api.keys import DEFAULT_KEY
from message_batches.contract import NextAction
from message_batches.formatting import format_time
from message_batches.results import reader
from message_batches.runs.deduplication import AttachedBatch, attached_batch, recorded_batch
from message_batches.runs.describe import RunNotFound, run_exists
from message_batches.storage import paths
from message_batches.storage.groups import GroupKey, PathKind, parse_path
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecord, SubmissionRecords
from message_batches.temporal.namespaces import NamespaceRecords, address_of, client_beside, id_of

RESULTS_KEPT = timedelta(days=29)
"""The provider keeps results for so long after the batch was created: an older record helps nobody."""

_AT_ONCE = 20


@dataclass(frozen=True)
class ForgottenSubmission:
    """A submission without landed results that no run follows any more.

    Attributes:
        workflow_id: of the run that sent it.
        sent: when it was sent last.
        batch_id: the batch that it created; None where its reply was lost.
        requests_uri: the requests in the store; None if they were purged.
        api_key: the name of the key that it was sent with.
    """

    workflow_id: str
    sent: datetime
    batch_id: str | None
    requests_uri: str | None
    api_key: str = DEFAULT_KEY


@dataclass(frozen=True)
class ForgottenSubmissions:
    """The forgotten submissions, the newest first.

    Attributes:
        unasked: namespaces that use the store and could not be asked; then no submission counts as forgotten.
    """

    found: tuple[ForgottenSubmission, ...] = ()
    unasked: tuple[str, ...] = ()


async def list_forgotten(client: Client, store: Store) -> ForgottenSubmissions:
    """List the submissions of the last 29 days that may have a batch, and have no landed results and no run.

    `StoreUnavailable` also for a store whose id is gone: its workers take no work.
    """
    await store.known_identity()
    by_run = await _without_results(store)
    if not by_run:
        return ForgottenSubmissions()
    clients, unasked = await _clients(client, store)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def known(workflow_id: str) -> bool:
        async with slots:
            return any([await run_exists(each, workflow_id) for each in clients])

    ids = list({run.workflow_id for run in by_run})
    missing = {each for each, there in zip(ids, await asyncio.gather(*map(known, ids)), strict=True) if not there}
    forgotten = [(run, records) for run, records in by_run.items() if run.workflow_id in missing]
    forgotten.sort(key=lambda each: each[1][-1].intent.time, reverse=True)
    if forgotten and unasked:
        return ForgottenSubmissions(unasked=unasked)
    manifests = set(await store.names("manifests/")) if forgotten else set()
    return ForgottenSubmissions(tuple(_forgotten(store, run, records, manifests) for run, records in forgotten))


async def with_records(
    store: Store, error: RunNotFound, workflow_id: str, batch: AttachedBatch | None = None
) -> RunNotFound:
    """Return the error of a run that Temporal does not know with what the store knows of it, and the next step.

    Args:
        store: that of the run.
        error: returned as it is where the store knows nothing of the run.
        workflow_id: the run's.
        batch: its batch, where that was asked for.
    """
    message = str(error)
    if batch:
        message = f"{batch.batch_id} is the batch of the run {workflow_id!r}, which Temporal does not know any more"
    sent, known = await _sent(SubmissionRecords(store), workflow_id, batch or attached_batch(workflow_id))
    if not sent and not known:
        return error
    last = sent[-1] if sent else None
    requests = paths.requests_path(last.intent.sha256) if last else ""
    uri = store.uri(requests) if requests in await store.names("manifests/") else None
    when = f", sent {format_time(last.intent.time)} UTC" if last else ""
    if known:
        message += when if batch else f". Its batch is {known.batch_id}{when}"
        if not await reader.of_key(store, *known):
            message += "; no results of it have landed"
        return RunNotFound(
            message,
            NextAction.ATTACH,
            workflow_id=workflow_id,
            batch_id=known.batch_id,
            api_key=known.api_key,
            requests_uri=uri,
        )
    action, outcome = NextAction.REPEAT_START, "The store has a record of it: no batch was created"
    if not all(record.created_nothing for record in sent):
        action = NextAction.CHECK_BATCHES
        outcome = f"It has requests{when}, and their reply was lost: look at the batches of that minute in the Console"
    return RunNotFound(
        f"{message}. {outcome}",
        action,
        workflow_id=workflow_id,
        api_key=sent[-1].api_key,
        requests_uri=uri,
    )


async def _sent(
    records: SubmissionRecords, workflow_id: str, batch: AttachedBatch | None
) -> tuple[list[SubmissionRecord], AttachedBatch | None]:
    """Return the records of a workflow id's last run, or of its batch, and that batch, as far as they are known."""
    owners = await records.owners_of(*batch) if batch else []
    found = await records.records_of_workflows({workflow_id, *(owner.workflow_id for owner in owners)})
    sent = sorted((each for every in found.values() for each in every), key=lambda record: record.intent.time)
    if batch:
        return [each for each in sent if each.outcome and each.outcome.batch_id == batch.batch_id], batch
    if sent:
        sent = [each for each in sent if each.intent.first_run_id == sent[-1].intent.first_run_id]
        named = recorded_batch(sent)
        return sent, AttachedBatch(named, sent[-1].api_key) if named else None
    claimed = await records.claimed_by(workflow_id)
    return [], next((AttachedBatch(*each) for each in claimed.items()), None)


@dataclass(frozen=True)
class _Run:
    workflow_id: str
    first_run_id: str
    api_key: str


async def _without_results(store: Store) -> dict[_Run, list[SubmissionRecord]]:
    """Return the records by run, oldest first, of the runs that may have bought a batch and have landed none."""
    oldest = datetime.now(UTC) - RESULTS_KEPT
    recent = [
        stored.name async for page in store.listing(paths.SUBMISSIONS) for stored in page if stored.modified >= oldest
    ]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def read(path: str) -> SubmissionRecord | None:
        async with slots:
            return await SubmissionRecords(store).read_record(path)

    found: dict[_Run, list[SubmissionRecord]] = {}
    for record in await asyncio.gather(*map(read, paths.intents_among(recent))):
        if record:
            run = _Run(record.intent.workflow_id, record.intent.first_run_id, record.api_key)
            found.setdefault(run, []).append(record)
    for records in found.values():
        records.sort(key=lambda record: record.intent.time)
    landed = await _landed(store) if found else set()
    return {
        run: records
        for run, records in found.items()
        if not all(record.created_nothing for record in records) and not _batches(records) & landed
    }


async def _landed(store: Store) -> set[GroupKey]:
    """Return the batches with published results."""
    parsed = [parse_path(name) for name in await store.names("results/")]
    return {each.key for each in parsed if each and each.kind is PathKind.PUBLICATION}


def _batches(records: Sequence[SubmissionRecord]) -> set[GroupKey]:
    return {
        GroupKey.of_batch(record.api_key, record.outcome.batch_id)
        for record in records
        if record.outcome and record.outcome.batch_id
    }


async def _clients(client: Client, store: Store) -> tuple[list[Client], tuple[str, ...]]:
    """Return a client of each namespace that works with the store, and the namespaces that cannot be asked."""
    own, clients, unasked = await id_of(client), [client], []
    for namespace_id, record in (await NamespaceRecords(store).all()).items():
        if namespace_id == own:
            continue
        if record and (record.name, record.address) == (client.namespace, address_of(client)):
            continue  # Of a server that was here before, with another database.
        beside = await client_beside(client, record.name, namespace_id) if record else None
        if beside:
            clients.append(beside)
        else:
            unasked.append(str(record or namespace_id))
    return clients, tuple(unasked)


def _forgotten(
    store: Store, run: _Run, records: Sequence[SubmissionRecord], manifests: Collection[str]
) -> ForgottenSubmission:
    intent = records[-1].intent
    requests = paths.requests_path(intent.sha256)
    return ForgottenSubmission(
        workflow_id=run.workflow_id,
        sent=intent.time,
        batch_id=recorded_batch(records),
        requests_uri=store.uri(requests) if requests in manifests else None,
        api_key=run.api_key,
    )
