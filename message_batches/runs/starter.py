"""The calls that start runs, each repeated safely where Temporal's answer is lost."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from message_batches.api.models import ApiProfile
from message_batches.contract import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE, NextAction
from message_batches.formatting import format_time
from message_batches.models import BatchInput, Manifest, PollSchedule, RequestsInput, SubmissionSchedule
from message_batches.prices import PriceList
from message_batches.result_models import CostEstimate
from message_batches.runs.comparison import is_run_of
from message_batches.runs.control import NoAnswer, Refused
from message_batches.runs.deduplication import (
    BatchKnown,
    Finished,
    NeverSent,
    OutcomeUnknown,
    PriorRun,
    Running,
    attach_id_of,
    attached_batch,
)
from message_batches.runs.describe import RunView
from message_batches.runs.static_details import StaticDetails
from message_batches.storage.interface import Store
from message_batches.temporal.diagnosis import unanswered
from message_batches.temporal.namespaces import NamespaceRecords, encrypts

Input = TypeVar("Input", bound=RequestsInput)

START_TIMEOUT = timedelta(seconds=10)
"""The time that Temporal may take to answer a start, before the run is looked for."""

MAX_TRIES = 5
"""Times that a start is tried whose answer is lost, or which another starter has overtaken."""


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
        max_cost: the most, in USD, that the requests of a new run may cost by the estimate.
        prices: by which that is estimated.
        deadline: when the batch is canceled if it has not ended.
        notify: the webhooks that are told of the events.
    """

    profile: ApiProfile = field(default_factory=ApiProfile)
    poll: PollSchedule = field(default_factory=PollSchedule)
    submission: SubmissionSchedule = field(default_factory=SubmissionSchedule)
    task_queue: str = DEFAULT_TASK_QUEUE
    delete_after_landing: bool = False
    scratch: Path | None = None
    max_cost: Decimal | None = None
    prices: PriceList = field(default_factory=PriceList)
    deadline: datetime | None = None
    notify: tuple[str, ...] = ()

    def input_of(self, model: type[Input], shown: StaticDetails, **given: Any) -> Input:
        """Build the input of a run, or of a job, from these options, the texts for the Web UI, and what it is given."""
        return model(
            **dict(self.profile),
            poll=self.poll,
            submission=self.submission,
            delete_after_landing=self.delete_after_landing,
            max_cost=self.max_cost,
            deadline=self.deadline,
            notify=self.notify,
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
        joined: the run was under way already, and has the options that it was started with.
        estimate: what the requests may cost, if they are newly sent.
        retry_later: the retries that were asked for can be started once the run has landed.
    """

    workflow_id: str
    note: str = ""
    finished: Finished | None = None
    unchecked: bool = False
    joined: bool = False
    estimate: CostEstimate | None = None
    retry_later: bool = False


class StartUnanswered(Exception):
    """A start without an answer: the run may exist or not, so it is looked for."""


@dataclass(frozen=True)
class Starter:
    """The calls that start runs."""

    client: Client
    store: Store
    options: StartOptions

    async def continue_prior(
        self, prior: PriorRun, workflow_id: str, manifest: Manifest, shown: StaticDetails
    ) -> StartResult:
        """Continue with the run or the batch that the requests have; `Refused` where that is not known."""
        match prior:
            case Running(view) if taken_over := attached_batch(view.workflow_id):
                return await self.join(view, taken_over.batch_id, manifest)
            case Running(view):
                note = "These requests have a run already, it is under way: attached to it"
                return StartResult(view.workflow_id, f"{note}{self._kept_options(view)}", joined=True)
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
                    api_key=self.options.profile.api_key,
                )
            case NeverSent():
                raise AssertionError("a new run is started for these")

    async def join(self, view: RunView, batch_id: str, manifest: Manifest | None) -> StartResult:
        """Follow the run that a batch has; `Refused` if it has other requests than these."""
        note = f"{view.workflow_id} follows this batch already{self._kept_options(view)}"
        if manifest is None:
            return StartResult(view.workflow_id, note, joined=True)
        if await is_run_of(self.client, self.store, view.workflow_id, batch_id, manifest):
            return StartResult(view.workflow_id, f"{note}, with the same requests", joined=True)
        return StartResult(view.workflow_id, f"{note}, without its requests", unchecked=True, joined=True)

    def _kept_options(self, view: RunView) -> str:
        """Say that a run which is joined keeps its own deadline and webhooks, where others were asked for."""
        own = view.progress.deadline if view.progress else None
        kept = " (it tells the webhooks that it was started with)" if self.options.notify else ""
        if self.options.deadline is None or own == self.options.deadline:
            return kept
        return f" (its deadline stays: {f'{format_time(own)} UTC' if own else 'none'}){kept}"

    async def attach(self, batch_id: str, manifest: Manifest | None, requests: StaticDetails | None) -> str:
        """Start a run that takes over a batch, or join the one that runs; return its workflow id."""
        given = self.options.input_of(
            BatchInput,
            StaticDetails.of_batch(batch_id, requests, self.options.profile, self.options.poll),
            batch_id=batch_id,
            store_id=manifest.store_id if manifest else None,
            requests_uri=manifest.uri if manifest else None,
        )
        workflow_id = attach_id_of(batch_id, self.options.profile.api_key)
        for _ in range(MAX_TRIES):
            try:
                await self.start_or_join(WORKFLOW_TYPE, workflow_id, given)
            except StartUnanswered:
                continue
            return workflow_id
        raise NoAnswer(
            f"Temporal did not answer whether {workflow_id} was started; asking again joins it",
            NextAction.ATTACH,
            workflow_id=workflow_id,
            batch_id=batch_id,
            api_key=self.options.profile.api_key,
        )

    async def start_new(
        self, workflow_type: str, workflow_id: str, given: RequestsInput, policy: WorkflowIDReusePolicy
    ) -> None:
        """Start a run or a job; `WorkflowAlreadyStartedError` if another one has its workflow id."""
        policies = {"id_reuse_policy": policy, "id_conflict_policy": WorkflowIDConflictPolicy.FAIL}
        await self._start(workflow_type, workflow_id, given, **policies)

    async def start_or_join(self, workflow_type: str, workflow_id: str, given: RequestsInput) -> None:
        """Start a run or a job, or join the one that is under way; `StartUnanswered` where that is not known."""
        await self._start(workflow_type, workflow_id, given, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING)

    async def _start(self, workflow_type: str, workflow_id: str, given: RequestsInput, **policies: Any) -> None:
        await refuse_unencrypted(self.client, self.store)
        try:
            await self.client.start_workflow(
                workflow_type,
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
                raise StartUnanswered from error
            raise


async def refuse_unencrypted(client: Client, store: Store) -> None:
    """Raise `Refused` if the workers of a client's namespace encrypt, and the client does not."""
    namespace = client.namespace
    if encrypts(client) or not (note := await NamespaceRecords(store).encrypted(namespace)):
        return
    raise Refused(
        f"The workers of namespace {namespace!r} encrypt, and there is no key here: Temporal could read what would "
        "be sent. Set MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE or MESSAGE_BATCHES_ENCRYPTION_KEYS; if encryption was "
        f"switched off for good, remove {note}. Nothing was sent"
    )
