"""The same content is the same run: what became of these requests before, as Temporal and the store's records tell.

running                                   attach to it
landed                                    show its results
ended otherwise, and its batch is known   attach to that batch
nothing was ever sent                     start anew
sent, and nobody knows what came of it    refuse: only a person can tell
"""

import hashlib
import json
from dataclasses import dataclass

from temporalio.client import Client

from message_batches.api.models import Account
from message_batches.models import BatchOutput, Landed, Manifest
from message_batches.results import reader
from message_batches.runs.describe import RunNotFound, RunView, look
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import Ledger, Record

_ID_DIGITS = 24


@dataclass(frozen=True)
class Running:
    """A run of this content is under way."""

    view: RunView


@dataclass(frozen=True)
class Finished:
    """The results of this content have landed; by which run Temporal may no longer know."""

    workflow_id: str
    landed: Landed | BatchOutput
    view: RunView | None = None


@dataclass(frozen=True)
class BatchKnown:
    """The run is over without results, and its batch is known."""

    batch_id: str
    how: str


@dataclass(frozen=True)
class NeverSent:
    """Nothing of this content was ever sent; `before` is a run that ended before it could."""

    before: RunView | None = None


@dataclass(frozen=True)
class Undecided:
    """Something was sent, its outcome is unknown, and no run is working on it."""

    why: str
    candidates: tuple[str, ...] = ()


Standing = Running | Finished | BatchKnown | NeverSent | Undecided


def workflow_id_of(manifest_sha256: str, account: Account) -> str:
    """The workflow id of this content: from the requests' bytes, the version, the betas and the key's name."""
    content = [manifest_sha256, account.anthropic_version, sorted(account.anthropic_beta), account.api_key]
    return f"batch-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:_ID_DIGITS]}"


def attach_id_of(batch_id: str) -> str:
    """The workflow id of the run that takes over a batch."""
    return f"attach-{batch_id}"


async def standing(client: Client, store: Store, manifest: Manifest, api_key: str, workflow_id: str) -> Standing:
    """What became of this content before."""
    view = await look_or_none(client, workflow_id)
    if view and view.running:
        return Running(view)
    if view and view.output:
        return Finished(workflow_id, view.output, view)
    records = await Ledger(store).submissions(manifest, api_key=api_key, workflow_id=workflow_id)
    if batch_id := _known_batch(view, records):
        return await _of_known(client, store, workflow_id, batch_id, records, manifest, view)
    return _unknown(view, records)


async def look_or_none(client: Client, workflow_id: str) -> RunView | None:
    """A run as it is, None if Temporal knows none."""
    try:
        return await look(client, workflow_id)
    except RunNotFound:
        return None


async def _of_known(
    client: Client,
    store: Store,
    workflow_id: str,
    batch_id: str,
    records: list[Record],
    manifest: Manifest,
    view: RunView | None,
) -> Standing:
    ours = {manifest.sha256, *(record.intent.sha256 for record in records)}
    for publication in await reader.of_batch(store, batch_id):
        if publication.manifest_sha256 in ours:
            return Finished(workflow_id, publication.landed)
    attached = await look_or_none(client, attach_id_of(batch_id))
    if attached and attached.running:
        return Running(attached)
    return BatchKnown(batch_id, _how(view))


def _known_batch(view: RunView | None, records: list[Record]) -> str | None:
    if view and view.batch_id:
        return view.batch_id
    named = [record.outcome.batch_id for record in records if record.outcome and record.outcome.batch_id]
    return named[-1] if named else None


def _unknown(view: RunView | None, records: list[Record]) -> Standing:
    candidates = view.failure.candidates if view and view.failure else ()
    if any(record.may_have_created for record in records):
        sent = max(record.intent.time for record in records if record.may_have_created)
        return Undecided(
            f"They were sent at {sent:%Y-%m-%d %H:%M:%S} UTC, no reply was seen, and the run is over ({_how(view)})",
            candidates,
        )
    known = [r for r in records if view and r.intent.first_run_id == view.first_run_id and not r.created_nothing]
    if view and view.progress and view.progress.posts > len(known):
        return Undecided(f"They may have been sent ({_how(view)}), and this store has no record of it yet", candidates)
    return NeverSent(view)


def _how(view: RunView | None) -> str:
    if view is None:
        return "Temporal no longer has its history"
    return f"it {view.status}: {view.failure.message}" if view.failure else f"it {view.status}"
