"""Starting a run: for new requests, for requests that were sent before, for a batch that exists."""

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from message_batches.contract import WORKFLOW_TYPE, NextAction
from message_batches.models import BatchInput, Manifest
from message_batches.requests.estimate import check_limit
from message_batches.requests.manifest import store_manifest
from message_batches.requests.reader import CheckedRequests
from message_batches.results import reader
from message_batches.runs.comparison import is_made_of, landed_results
from message_batches.runs.control import NoAnswer, Refused, check_batch_id
from message_batches.runs.deduplication import (
    Finished,
    NeverSent,
    Running,
    attach_id_of,
    find_prior_run,
    has_results,
    workflow_id_of,
)
from message_batches.runs.describe import RunView, find_run
from message_batches.runs.starter import MAX_TRIES, Starter, StartOptions, StartResult, StartUnanswered
from message_batches.runs.static_details import StaticDetails
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecords
from message_batches.temporal.diagnosis import unanswered
from message_batches.temporal.namespaces import begin_store

MAX_INLINE_REQUESTS_BYTES = 128 * 1024
"""Requests up to this size are part of the run's input; larger ones travel as a reference to the store."""


async def start_run(
    client: Client,
    store: Store,
    requests: CheckedRequests,
    name: str,
    options: StartOptions,
    *,
    again: bool = False,
    again_id: str | None = None,
    on_again: Callable[[str], None] | None = None,
) -> StartResult:
    """Start a run for requests, unless there is or was one: the same content is the same run.

    Args:
        client: from `connect()`.
        store: that of the workers; the requests are written there first.
        requests: from `read_requests()`.
        name: of their file, for the Web UI.
        options: of the run.
        again: submit them again (and pay again), in a run with a workflow id of its own.
        again_id: that id, from an earlier call with an unknown outcome: it is one run, however often it is asked for.
        on_again: called with the workflow id of such a run before anything is sent.
    """
    starter = Starter(client, store, options)
    await begin_store(client, store, options.task_queue)
    manifest = await store_manifest(store, requests)
    workflow_id = workflow_id_of(manifest.content, options.profile)
    items = _inline(requests)
    shown = StaticDetails.of_requests(requests, name, options.profile, options.poll)
    given = options.input_of(
        BatchInput,
        shown,
        store_id=manifest.store_id,
        requests=items,
        requests_uri=None if items is not None else manifest.uri,
    )
    if again:
        workflow_id = again_id_of(workflow_id, again_id)
        if on_again:
            on_again(workflow_id)
    lost = False
    for _ in range(MAX_TRIES):
        try:
            prior = await find_prior_run(client, store, manifest, options.profile.api_key, workflow_id)
        except RPCError as error:
            if lost and unanswered(error):
                continue
            raise
        if lost and isinstance(prior, Running):
            return StartResult(workflow_id, estimate=requests.estimate)
        if not isinstance(prior, NeverSent):
            return await starter.continue_prior(prior, workflow_id, manifest, shown)
        if options.max_cost is not None and requests.estimate:
            check_limit(requests.estimate, options.max_cost, "maxCost")
        # If another starter has changed anything since then, this fails and the search is repeated.
        policy = (
            WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
            if prior.before
            else WorkflowIDReusePolicy.REJECT_DUPLICATE
        )
        try:
            await starter.start_new(WORKFLOW_TYPE, workflow_id, given, policy)
        except WorkflowAlreadyStartedError:
            continue
        except StartUnanswered:
            lost = True
            continue
        note = _ended_before(prior.before) if prior.before else ""
        return StartResult(workflow_id, note, estimate=requests.estimate)
    if lost:
        raise NoAnswer(
            f"Temporal did not answer whether {workflow_id} was started",
            NextAction.REPEAT_AGAIN if again else NextAction.REPEAT_START,
            workflow_id=workflow_id,
            api_key=options.profile.api_key,
        )
    raise Refused(f"Others keep starting and ending {workflow_id}; nothing was sent from here")


async def attach_run(
    client: Client,
    store: Store,
    batch_id: str,
    options: StartOptions,
    requests: CheckedRequests | None = None,
    name: str = "",
) -> StartResult:
    """Start a run that takes over a batch, unless one follows it already; with its requests the results are verified.

    `Refused` if the batch has a run with other requests, or its results are not those of these requests.

    Args:
        client: from `connect()`.
        store: that of the workers.
        batch_id: of the batch.
        options: of the run.
        requests: those that the batch holds, from `read_requests()`.
        name: of their file, for the Web UI.
    """
    check_batch_id(batch_id)
    await begin_store(client, store, options.task_queue)
    starter = Starter(client, store, options)
    manifest: Manifest | None = None
    shown: StaticDetails | None = None
    if requests:
        manifest = await store_manifest(store, requests)
        shown = StaticDetails.of_requests(requests, name, options.profile, options.poll)
    api_key = options.profile.api_key
    owners = await SubmissionRecords(store).owners_of(batch_id, api_key)
    for workflow_id in dict.fromkeys((attach_id_of(batch_id, api_key), *(owner.workflow_id for owner in owners))):
        view = await find_run(client, workflow_id)
        if view and view.running:
            return await starter.join(view, batch_id, manifest)
        if view and view.output and view.output.batch_id == batch_id and await has_results(store, view.output):
            note = f"The results of this batch have landed before, by {workflow_id}"
            output = await landed_results(
                store, view.output, manifest, api_key=api_key, scratch=options.scratch, prices=options.prices
            )
            return StartResult(workflow_id, note, Finished(workflow_id, output))
    for publication in await reader.of_key(store, batch_id, api_key):
        if publication.file_there:
            # By a run that Temporal no longer knows.
            landed = await landed_results(
                store, publication.landed, manifest, api_key=api_key, scratch=options.scratch, prices=options.prices
            )
            workflow_id = owners[0].workflow_id if owners else attach_id_of(batch_id, api_key)
            return StartResult(
                workflow_id, "The results of this batch have landed before", Finished(workflow_id, landed)
            )
    if manifest:
        await is_made_of(store, batch_id, api_key, manifest)
    return StartResult(await starter.attach(batch_id, manifest, shown))


def again_id_of(workflow_id: str, given: str | None) -> str:
    """Return the workflow id of another run of the same content: that given one, or a new one."""
    if given is None:
        return f"{workflow_id}-{uuid4().hex[:8]}"
    if not re.fullmatch(rf"{re.escape(workflow_id)}-[0-9a-f]{{8}}", given):
        raise Refused(
            f"{given[:100]!r} is not the id of another run of these requests: those begin with {workflow_id}- and end "
            "in eight hexadecimal digits. Nothing was sent"
        )
    return given


def _inline(requests: CheckedRequests) -> list[Any] | None:
    """Return the requests as part of the run's input, if they are small."""
    if requests.body_bytes > MAX_INLINE_REQUESTS_BYTES:
        return None
    try:
        return requests.items()
    except msgspec.MsgspecError:
        # Such as a number beyond all bounds: the API has to refuse it, it gets the bytes as they are.
        return None


def _ended_before(view: RunView) -> str:
    why = f": {view.failure.message}" if view.failure else ""
    return f"An earlier run of these requests {view.status} before anything was sent{why}. Started anew"
