"""Starting a run: for new requests, for requests that were sent before, for a batch that exists."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from message_batches.api.models import ApiProfile
from message_batches.contract import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE, NextAction
from message_batches.models import BatchInput, Manifest, PollSchedule, SubmissionSchedule
from message_batches.requests.manifest import store_manifest
from message_batches.requests.reader import CheckedRequests
from message_batches.runs.comparison import is_run_of, landed_results
from message_batches.runs.control import NoAnswer, Refused, check_batch_id
from message_batches.runs.deduplication import (
    BatchKnown,
    Finished,
    NeverSent,
    OutcomeUnknown,
    PriorRun,
    Running,
    attach_id_of,
    attached_batch,
    find_prior_run,
    has_results,
    workflow_id_of,
)
from message_batches.runs.describe import RunView, find_run
from message_batches.runs.static_details import StaticDetails
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecords
from message_batches.temporal.diagnosis import unanswered
from message_batches.temporal.namespaces import NamespaceRecords, encrypts

MAX_INLINE_REQUESTS_BYTES = 128 * 1024
"""Requests up to this size are part of the run's input; larger ones travel as a reference to the store."""

START_TIMEOUT = timedelta(seconds=10)
"""The time that Temporal may take to answer a start, before the run is looked for."""

_MAX_TRIES = 5


@dataclass(frozen=True)
class StartOptions:
    """The options of a run, besides its requests.

    Attributes:
        profile: the key's name, the API version and the betas.
        poll: the cadence of the polling step.
        submission: how long the POST may take, and how long the list is watched after a lost reply.
        task_queue: of the workers that shall take the run.
        delete_after_landing: delete the batch at the provider once its results are landed and verified.
        scratch: a folder for temporary files; by default the system's.
    """

    profile: ApiProfile = field(default_factory=ApiProfile)
    poll: PollSchedule = field(default_factory=PollSchedule)
    submission: SubmissionSchedule = field(default_factory=SubmissionSchedule)
    task_queue: str = DEFAULT_TASK_QUEUE
    delete_after_landing: bool = False
    scratch: Path | None = None

    def batch_input(self, shown: StaticDetails, **given: Any) -> BatchInput:
        """Build the run's input from these options, the texts for the Web UI, and the requests or the batch."""
        return BatchInput(
            **dict(self.profile),
            poll=self.poll,
            submission=self.submission,
            delete_after_landing=self.delete_after_landing,
            static_summary=shown.summary,
            static_details=shown.details,
            **given,
        )


@dataclass(frozen=True)
class StartResult:
    """A run that is under way, or whose results are there already.

    Attributes:
        note: the reason why it is not simply a new run; empty if it is one.
        finished: the results, if they had landed before.
        unchecked: the run takes the batch over without its requests: the given ones can be compared once it has
            landed, by the same call again.
    """

    workflow_id: str
    note: str = ""
    finished: Finished | None = None
    unchecked: bool = False


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
    starter = _Starter(client, store, options)
    manifest = await store_manifest(store, requests)
    workflow_id = workflow_id_of(manifest.content, options.profile)
    items = _inline(requests)
    shown = StaticDetails.of_requests(requests, name, options.profile, options.poll)
    given = options.batch_input(
        shown,
        store_id=manifest.store_id,
        requests=items,
        requests_uri=None if items is not None else manifest.uri,
    )
    if again:
        workflow_id = _again_id(workflow_id, again_id)
        if on_again:
            on_again(workflow_id)
    lost = False
    for _ in range(_MAX_TRIES):
        try:
            prior = await find_prior_run(client, store, manifest, options.profile.api_key, workflow_id)
        except RPCError as error:
            if lost and unanswered(error):
                continue
            raise
        if lost and isinstance(prior, Running):
            return StartResult(workflow_id)
        if not isinstance(prior, NeverSent):
            return await starter.continue_prior(prior, workflow_id, manifest, shown)
        # If another starter has changed anything since then, this fails and the search is repeated.
        policy = (
            WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
            if prior.before
            else WorkflowIDReusePolicy.REJECT_DUPLICATE
        )
        try:
            await starter.start_new(workflow_id, given, policy)
        except WorkflowAlreadyStartedError:
            continue
        except _StartUnanswered:
            lost = True
            continue
        return StartResult(workflow_id, _ended_before(prior.before) if prior.before else "")
    if lost:
        raise NoAnswer(
            f"Temporal did not answer whether {workflow_id} was started",
            NextAction.REPEAT_AGAIN if again else NextAction.REPEAT_START,
            workflow_id=workflow_id,
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
    starter = _Starter(client, store, options)
    manifest: Manifest | None = None
    shown: StaticDetails | None = None
    if requests:
        manifest = await store_manifest(store, requests)
        shown = StaticDetails.of_requests(requests, name, options.profile, options.poll)
    owner = await SubmissionRecords(store).owner_of(batch_id)
    for workflow_id in (attach_id_of(batch_id), *([owner] if owner else [])):
        view = await find_run(client, workflow_id)
        if view and view.running:
            return await starter.join(view, batch_id, manifest)
        if view and view.output and view.output.batch_id == batch_id and await has_results(store, view.output):
            note = f"The results of this batch have landed before, by {workflow_id}"
            landed = await landed_results(store, view.output, manifest, scratch=options.scratch)
            return StartResult(workflow_id, note, Finished(workflow_id, landed))
    return StartResult(await starter.attach(batch_id, manifest, shown))


class _StartUnanswered(Exception):
    """A start without an answer: the run may exist or not, so it is looked for."""


@dataclass(frozen=True)
class _Starter:
    """The calls that start runs."""

    client: Client
    store: Store
    options: StartOptions

    async def continue_prior(
        self, prior: PriorRun, workflow_id: str, manifest: Manifest, shown: StaticDetails
    ) -> StartResult:
        match prior:
            case Running(view) if taken_over := attached_batch(view.workflow_id):
                return await self.join(view, taken_over, manifest)
            case Running(view):
                note = "These requests have a run already, it is under way: attached to it"
                return StartResult(view.workflow_id, note)
            case Finished():
                note = "These requests have been run before, these are their results"
                return StartResult(prior.workflow_id, note, prior)
            case BatchKnown(batch_id, reason):
                attached = await self.attach(batch_id, manifest, shown)
                note = (
                    f"These requests were sent as {batch_id}, and their run is over ({reason}): attached to that batch"
                )
                return StartResult(attached, note)
            case OutcomeUnknown(reason, candidates):
                named = f" These may be theirs: {', '.join(candidates)}." if candidates else ""
                raise Refused(
                    f"It is not known whether these requests were submitted and charged ({workflow_id}). {reason}."
                    f"{named} Nothing was sent; look at the batches in the Console",
                    NextAction.CHECK_BATCHES,
                    workflow_id=workflow_id,
                    candidates=candidates,
                )
            case NeverSent():
                raise AssertionError("a new run is started for these")

    async def join(self, view: RunView, batch_id: str, manifest: Manifest | None) -> StartResult:
        """Follow the run that a batch has; `Refused` if it has other requests than these."""
        note = f"{view.workflow_id} follows this batch already"
        if manifest is None:
            return StartResult(view.workflow_id, note)
        if await is_run_of(self.client, self.store, view.workflow_id, batch_id, manifest):
            return StartResult(view.workflow_id, f"{note}, with the same requests")
        return StartResult(view.workflow_id, f"{note}, without its requests", unchecked=True)

    async def attach(self, batch_id: str, manifest: Manifest | None, requests: StaticDetails | None) -> str:
        """Start a run that takes over a batch, or join the one that runs; return its workflow id."""
        given = self.options.batch_input(
            StaticDetails.of_batch(batch_id, requests, self.options.profile, self.options.poll),
            batch_id=batch_id,
            store_id=manifest.store_id if manifest else None,
            requests_uri=manifest.uri if manifest else None,
        )
        workflow_id = attach_id_of(batch_id)
        for _ in range(_MAX_TRIES):
            try:
                await self._start(workflow_id, given, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING)
            except _StartUnanswered:
                continue
            return workflow_id
        raise NoAnswer(
            f"Temporal did not answer whether {workflow_id} was started; asking again joins it",
            NextAction.ATTACH,
            workflow_id=workflow_id,
            batch_id=batch_id,
        )

    async def start_new(self, workflow_id: str, given: BatchInput, policy: WorkflowIDReusePolicy) -> None:
        """Start a run; `WorkflowAlreadyStartedError` if another one has its workflow id."""
        await self._start(workflow_id, given, id_reuse_policy=policy, id_conflict_policy=WorkflowIDConflictPolicy.FAIL)

    async def _start(self, workflow_id: str, given: BatchInput, **policies: Any) -> None:
        await self._refuse_unencrypted()
        try:
            await self.client.start_workflow(
                WORKFLOW_TYPE,
                given,
                id=workflow_id,
                task_queue=self.options.task_queue,
                static_summary=given.static_summary,
                static_details=given.static_details,
                rpc_timeout=START_TIMEOUT,
                **policies,
            )
        except RPCError as error:
            if unanswered(error):
                raise _StartUnanswered from error
            raise

    async def _refuse_unencrypted(self) -> None:
        namespace = self.client.namespace
        if encrypts(self.client) or not (note := await NamespaceRecords(self.store).encrypted(namespace)):
            return
        raise Refused(
            f"The workers of namespace {namespace!r} encrypt, and there is no key here: Temporal could read what would "
            "be sent. Set MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE or MESSAGE_BATCHES_ENCRYPTION_KEYS; if encryption was "
            f"switched off for good, remove {note}. Nothing was sent"
        )


def _again_id(workflow_id: str, given: str | None) -> str:
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
