"""The one decoder of a run's history: its input, the state it carries over, its progress, its output or failure.

It is written by workers of any version, its input by any caller: fields of an unexpected type count as missing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ValidationError
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError

from message_batches.api.keys import DEFAULT_KEY, KEY_NAME
from message_batches.api.models import MessageBatch
from message_batches.contract import ActivityType, NextAction
from message_batches.errors import ERRORS_BY_NAME, BatchNotFound
from message_batches.models import FailureDetails, Phase, Progress
from message_batches.serialization import ContractModel
from message_batches.temporal.payloads import first_value, given_value, part, texts, time_in

Output = TypeVar("Output")


class _CarriedSubmission(ContractModel):
    batch_id: str | None = None
    posted: int = 0


class CarriedState(ContractModel):
    """The part of a run's state that is read here; the state is carried over continue-as-new."""

    phase: Phase = Phase.PREPARING
    batch: MessageBatch | None = None
    polls: int = 0
    last_seen: datetime | None = None
    not_found_since: datetime | None = None
    not_found: int = 0
    submission: _CarriedSubmission = _CarriedSubmission()


@dataclass(frozen=True)
class RunStart:
    """The decoded input of a run's first event.

    Attributes:
        batch_ids: the batches that it names, the latest known one last.
        requests_uris: the files of requests in the store that it names, that of the manifest last.
        requests: those in the input itself.
        continued: whether it continues an earlier run.
        api_key: the name of its key; None for a text that is no name.
        state: carried over from that run; None where it cannot be read.
        deadline: that it gives.
    """

    batch_ids: tuple[str, ...]
    requests_uris: tuple[str, ...]
    continued: bool
    state: CarriedState | None
    requests: list[Any] | None = None
    api_key: str | None = None
    deadline: datetime | None = None

    @classmethod
    def of(cls, given: dict[str, Any]) -> "RunStart":
        """Decode the input."""
        carried = part(given, "state")
        named = (given.get("batchId"), part(carried, "submission").get("batch_id"))
        uris = (given.get("requestsUri"), part(carried, "manifest").get("uri"))
        try:
            # The state's own fields are snake_case, the models in it camelCase: both names are read.
            state = CarriedState.model_validate(carried) if carried else None
        except ValidationError:
            state = None
        requests, key = given.get("requests"), given.get("apiKey", DEFAULT_KEY)
        items = requests if isinstance(requests, list) else None
        # It may be a key instead of a name, and must not be shown.
        api_key = key if isinstance(key, str) and KEY_NAME.fullmatch(key) else None
        deadline = time_in(given.get("deadline"))
        return cls(texts(*named), texts(*uris), bool(carried), state, items, api_key, deadline)


@dataclass(frozen=True)
class StoreReferences:
    """The batches of a key, and the files of requests, that a run names; complete if it will never name any more."""

    batch_ids: tuple[str, ...] = ()
    requests_uris: tuple[str, ...] = ()
    api_key: str | None = None
    complete: bool = False


@dataclass(frozen=True)
class RunFailure:
    """The reason why a run ended without a result.

    Attributes:
        kind: the failure's type, such as `BatchNotEnded`.
        message: the reason in words.
        batch_id: the batch that stays at the provider.
        candidates: batches that may be the run's, where that stayed undecided.
        action: the next step for an operator, None where the message says all there is.
        api_key: the name of the run's key, where it is known.
    """

    kind: str
    message: str
    batch_id: str | None = None
    candidates: tuple[str, ...] = ()
    action: NextAction | None = None
    api_key: str | None = None


async def read_progress(client: Client, workflow_id: str) -> Progress:
    """Read the progress of a workflow id's latest run from its history: the last known state, not the present one.

    A history has at most some hundred events: a run continues as new before it has more.
    """
    reading = _ProgressReading(client.data_converter)
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        await reading.take(event)
    return reading.progress()


async def read_start(client: Client, workflow_id: str) -> RunStart:
    """Read the input of a workflow id's latest run; of one that cannot be read, nothing."""
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            given = event.workflow_execution_started_event_attributes.input
            return RunStart.of(await given_value(client.data_converter, given))
    return RunStart.of({})


async def read_references(client: Client, handle: WorkflowHandle[Any, Any]) -> StoreReferences:
    """Read the batches and requests that a run names; an error of the data converter passes through."""
    start = RunStart((), (), continued=False, state=None)
    preparing: set[int] = set()
    async for event in handle.fetch_history_events():
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                given = event.workflow_execution_started_event_attributes.input
                start = RunStart.of(await first_value(client.data_converter, given))
                if start.continued:
                    return StoreReferences(start.batch_ids, start.requests_uris, start.api_key, complete=True)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                if event.activity_task_scheduled_event_attributes.activity_type.name == ActivityType.PREPARE_REQUESTS:
                    preparing.add(event.event_id)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed = event.activity_task_completed_event_attributes
                if completed.scheduled_event_id in preparing:
                    prepared = await first_value(client.data_converter, completed.result)
                    uris = (*start.requests_uris, *texts(part(prepared, "manifest").get("uri")))
                    return StoreReferences(start.batch_ids, uris, start.api_key, complete=True)
    return StoreReferences(start.batch_ids, start.requests_uris, start.api_key)


async def read_end(client: Client, workflow_id: str, run_id: str, output_type: type[Output]) -> Output | RunFailure:
    """Read the output or the failure of a run that is over."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id, result_type=output_type)
    try:
        output: Output = await handle.result()
    except WorkflowFailureError as error:
        return _failure(error.cause)
    return output


def _failure(cause: BaseException | None) -> RunFailure:
    """Read a run's failure: our own have a type, a message and details; for others Temporal's message is used."""
    if isinstance(cause, ApplicationError):
        details = _failure_details(cause)
        return RunFailure(
            cause.type or "Failed", cause.message, details.batch_id, details.candidates, action=details.action
        )
    if isinstance(cause, TerminatedError):
        reason = cause.message.removeprefix("Workflow execution terminated").strip(" :")
        return RunFailure("Terminated", f"The run was terminated: {reason}" if reason else "The run was terminated")
    if isinstance(cause, CancelledError):
        return RunFailure("Canceled", "The run was cancelled")
    return RunFailure(type(cause).__name__, str(cause))


def _failure_details(cause: ApplicationError) -> FailureDetails:
    first = cause.details[0] if cause.details else None
    found = {name: value for name, value in first.items() if value is not None} if isinstance(first, dict) else {}
    # A later version may name a next step that is not known here.
    for known in (found, {**found, "action": None}):
        try:
            return FailureDetails.model_validate(known)
        except ValidationError:
            continue
    return FailureDetails()


class _ProgressReading:
    """The progress as far as the events read so far show it."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._types: dict[int, str] = {}
        self._phase = Phase.PREPARING
        self._batch: MessageBatch | None = None
        self._batch_id: str | None = None
        self._polls = 0
        self._posts = 0
        self._last_seen: datetime | None = None
        self._not_found_since: datetime | None = None
        self._not_found = 0
        self._deadline: datetime | None = None

    async def take(self, event: HistoryEvent) -> None:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                given = event.workflow_execution_started_event_attributes.input
                self._started(RunStart.of(await given_value(self._converter, given)))
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                name = event.activity_task_scheduled_event_attributes.activity_type.name
                self._types[event.event_id] = name
                self._scheduled(name)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed = event.activity_task_completed_event_attributes
                name = self._types.get(completed.scheduled_event_id, "")
                if name in (ActivityType.SUBMIT_BATCH, ActivityType.POLL_BATCH_STATUS, ActivityType.CANCEL_BATCH):
                    time = event.event_time.ToDatetime(tzinfo=UTC)
                    self._completed(name, await first_value(self._converter, completed.result), time)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED | EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
                failed = event.activity_task_failed_event_attributes.scheduled_event_id
                timed_out = event.activity_task_timed_out_event_attributes.scheduled_event_id
                name = self._types.get(failed or timed_out, "")
                kind = event.activity_task_failed_event_attributes.failure.application_failure_info.type
                if name == ActivityType.POLL_BATCH_STATUS and kind == BatchNotFound.__name__:
                    self._not_found_since = self._not_found_since or event.event_time.ToDatetime(tzinfo=UTC)
                    self._not_found += 1
                if name == ActivityType.SUBMIT_BATCH:
                    nothing = kind in ERRORS_BY_NAME and not ERRORS_BY_NAME[kind].outcome_unknown
                    self._phase = self._phase if nothing else Phase.UNDECIDED
                    self._posts -= nothing

    def progress(self) -> Progress:
        batch = self._batch
        return Progress(
            phase=self._phase,
            batch_id=self._batch_id,
            processing_status=batch.processing_status if batch else None,
            request_counts=batch.request_counts if batch else None,
            unknown_status=bool(batch and batch.unknown_status),
            polls=self._polls,
            expires_at=batch.expires_at if batch else None,
            ended_at=batch.ended_at if batch else None,
            last_seen=self._last_seen,
            not_found_since=self._not_found_since,
            not_found=self._not_found,
            posts=self._posts,
            deadline=self._deadline,
        )

    def _started(self, start: RunStart) -> None:
        self._batch_id, self._deadline = (start.batch_ids or (None,))[-1], start.deadline
        if start.state:
            self._phase, self._polls = start.state.phase, start.state.polls
            self._posts = start.state.submission.posted
            if start.state.batch:
                self._update_batch(start.state.batch, start.state.last_seen)
            self._not_found_since, self._not_found = start.state.not_found_since, start.state.not_found

    def _scheduled(self, name: str) -> None:
        if name == ActivityType.SUBMIT_BATCH:
            self._phase = Phase.SUBMITTING
            self._posts += 1
        elif name == ActivityType.FIND_ANCHOR and self._phase is Phase.PREPARING:
            self._phase = Phase.SUBMITTING
        elif name == ActivityType.POLL_BATCH_STATUS:
            self._phase = Phase.POLLING
        elif name == ActivityType.RETRIEVE_RESULTS:
            self._phase = Phase.RETRIEVING

    def _completed(self, name: str, value: dict[str, Any], time: datetime) -> None:
        if name == ActivityType.SUBMIT_BATCH:
            self._batch_id = value.get("recorded") or self._batch_id
            value = value.get("batch") or {}
        # A poll that has found nothing new has no value.
        batch = MessageBatch.model_validate(value) if value.get("id") else self._batch
        if batch is None or (not value and name != ActivityType.POLL_BATCH_STATUS):
            return
        self._polls += name == ActivityType.POLL_BATCH_STATUS and not batch.ended
        self._update_batch(batch, time)

    def _update_batch(self, batch: MessageBatch, seen: datetime | None) -> None:
        self._batch, self._batch_id = batch, batch.id
        self._last_seen = self._last_seen if batch.from_store else seen
        self._not_found_since, self._not_found = None, 0
