"""The same content is the same run: looks for an earlier run of these requests in Temporal and in the store.

running                                   attach to it
landed, and the results are there         show them
ended otherwise, and its batch is known   attach to that batch
nothing was ever sent                     start a new run
sent, and the outcome is unknown          refuse: only an operator can tell
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from temporalio.client import Client

from message_batches.api.keys import DEFAULT_KEY
from message_batches.api.models import ApiProfile
from message_batches.models import BatchOutput, Manifest
from message_batches.result_models import LandedResults
from message_batches.results import reader
from message_batches.runs.describe import RunView, find_run
from message_batches.storage import paths
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecord, SubmissionRecords

_ID_DIGITS = 24
_RUN_DIGITS = 8
_ATTACH = "attach-"


@dataclass(frozen=True)
class Running:
    """A run of this content is under way."""

    view: RunView


@dataclass(frozen=True)
class Finished:
    """The results of this content have landed; Temporal may no longer know the run."""

    workflow_id: str
    landed: LandedResults | BatchOutput


@dataclass(frozen=True)
class BatchKnown:
    """The run is over without results, and its batch is known."""

    batch_id: str
    reason: str


@dataclass(frozen=True)
class NeverSent:
    """Nothing of this content was ever sent; `before` is a run that ended before it could send."""

    before: RunView | None = None


@dataclass(frozen=True)
class OutcomeUnknown:
    """The requests were sent, the outcome is unknown, and no run is working on it."""

    reason: str
    candidates: tuple[str, ...] = ()


PriorRun = Running | Finished | BatchKnown | NeverSent | OutcomeUnknown


def workflow_id_of(content_sha256: str, profile: ApiProfile) -> str:
    """Return the workflow id of this content: from the requests, the version, the betas and the key's name."""
    return f"batch-{_content_digits(content_sha256, profile)}"


def job_id_of(content_sha256: str, profile: ApiProfile) -> str:
    """Return the workflow id of the job of this content, from the same facts."""
    return f"job-{_content_digits(content_sha256, profile)}"


def retry_job_id_of(content_sha256: str, profile: ApiProfile, run_id: str) -> str:
    """Return the workflow id of the job that sends again what has failed of the batch of a run.

    Of the run that the content names it is the content's job; any other run has results of its own, and so a job.
    """
    job_id = job_id_of(content_sha256, profile)
    if run_id == workflow_id_of(content_sha256, profile):
        return job_id
    return f"{job_id}-{hashlib.sha256(run_id.encode()).hexdigest()[:_RUN_DIGITS]}"


def _content_digits(content_sha256: str, profile: ApiProfile) -> str:
    content = [content_sha256, profile.anthropic_version, sorted({*profile.anthropic_beta}), profile.api_key]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:_ID_DIGITS]


def attach_id_of(batch_id: str, api_key: str) -> str:
    """Return the workflow id of the run that takes over a batch of a key, whose name is left out for the default.

    Neither a key's name nor a batch's id has a dot: no server can name a batch so that it is taken for another key's.
    """
    return f"{_ATTACH}{batch_id}" if api_key == DEFAULT_KEY else f"{_ATTACH}{api_key}.{batch_id}"


class AttachedBatch(NamedTuple):
    """The batch that a run takes over, and the name of its key."""

    batch_id: str
    api_key: str


def attached_batch(workflow_id: str) -> AttachedBatch | None:
    """Return the batch that a run takes over, by the run's workflow id; None for other runs."""
    if not workflow_id.startswith(_ATTACH):
        return None
    api_key, _, batch_id = workflow_id.removeprefix(_ATTACH).rpartition(".")
    return AttachedBatch(batch_id, api_key or DEFAULT_KEY)


def key_of_batch(records: Sequence[SubmissionRecord], batch_id: str) -> str | None:
    """Return the name of the key with which a run's own records say that a batch was sent."""
    return next((each.api_key for each in records if each.outcome and each.outcome.batch_id == batch_id), None)


def recorded_batch(records: Sequence[SubmissionRecord]) -> str | None:
    """Return the last batch that a run's own records name."""
    named = [record.outcome.batch_id for record in records if record.outcome and record.outcome.batch_id]
    return named[-1] if named else None


async def find_prior_run(client: Client, store: Store, manifest: Manifest, api_key: str, workflow_id: str) -> PriorRun:
    """Find out whether this content was sent before, and with what outcome."""
    view = await find_run(client, workflow_id)
    records = []
    if view is None or not view.running:
        records = await SubmissionRecords(store).records_of_workflow(manifest, api_key=api_key, workflow_id=workflow_id)
    return await judge_prior_run(client, store, manifest, api_key, workflow_id, view, records)


async def judge_prior_run(
    client: Client,
    store: Store,
    manifest: Manifest,
    api_key: str,
    workflow_id: str,
    view: RunView | None,
    records: Sequence[SubmissionRecord],
) -> PriorRun:
    """Find out the outcome of a run of this content, from what Temporal shows of it and its records in the store."""
    if view and view.running:
        return Running(view)
    if view and view.output and await has_results(store, view.output):
        return Finished(workflow_id, view.output)
    if batch_id := (view and view.batch_id) or recorded_batch(records):
        api_key = key_of_batch(records, batch_id) or api_key
        ours = {manifest.sha256, *(record.intent.sha256 for record in records)}
        for publication in await reader.of_key(store, batch_id, api_key):
            known = publication.manifest_sha256
            if publication.file_there and (known in ours or await _has_ids_of(store, manifest, known)):
                return Finished(workflow_id, publication.landed)
        attached = await find_run(client, attach_id_of(batch_id, api_key))
        return Running(attached) if attached and attached.running else BatchKnown(batch_id, _end_of(view))
    return _without_batch(view, records)


async def _has_ids_of(store: Store, manifest: Manifest, other_sha256: str | None) -> bool:
    """Return whether another spelling of the requests has their custom_ids in their order: then so are its results.

    The batch is known to be of this content: a file that was checked against it needs no more to be compared.
    """
    if other_sha256 is None:
        return False
    others = await store.read(paths.ids_path(other_sha256))
    return others is not None and others == await store.read(store.name(manifest.ids_uri))


async def has_results(store: Store, output: BatchOutput) -> bool:
    """Return whether a run's results are still there; those in another store are taken to be."""
    return reader.is_elsewhere(store, output) or await reader.has_file(store, output.results_file)


def _without_batch(view: RunView | None, records: Sequence[SubmissionRecord]) -> PriorRun:
    candidates = view.failure.candidates if view and view.failure else ()
    unknown = [record.intent.time for record in records if record.may_have_created]
    if unknown:
        reason = (
            f"They were sent at {max(unknown):%Y-%m-%d %H:%M:%S} UTC, no reply was seen, and the run is over "
            f"({_end_of(view)})"
        )
        return OutcomeUnknown(reason, candidates)
    known = [r for r in records if view and r.intent.first_run_id == view.first_run_id and not r.created_nothing]
    if view and view.progress and view.progress.posts > len(known):
        reason = f"They may have been sent ({_end_of(view)}), and this store has no record of it yet"
        return OutcomeUnknown(reason, candidates)
    return NeverSent(view)


def _end_of(view: RunView | None) -> str:
    if view is None:
        return "Temporal no longer has its history"
    if view.output:
        return "its landed results are gone from the store"
    return f"it {view.status}: {view.failure.message}" if view.failure else f"it {view.status}"
