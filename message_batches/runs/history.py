"""What a run's history tells of its progress when no worker answers: the last batch seen, not what happens now."""

from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from message_batches.api.models import MessageBatch
from message_batches.errors import BY_NAME
from message_batches.models import Phase, Progress
from message_batches.serialization import Boundary

SUBMIT, POLL, STOP, LAND = "submitBatch", "pollBatchStatus", "cancelBatch", "retrieveResults"


class _Submission(Boundary):
    """The part of a run's submission that is carried over continue-as-new."""

    batch_id: str | None = None
    posted: int = 0


class _Carried(Boundary):
    """The part of a run's state that is carried over continue-as-new."""

    phase: Phase = Phase.PREPARING
    batch: MessageBatch | None = None
    polls: int = 0
    submission: _Submission = _Submission()


async def last_known(client: Client, workflow_id: str) -> Progress:
    """Read the latest run's history, at most some hundred events: a run continues as new before it has more."""
    reading = _Reading(client)
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        await reading.take(event)
    return reading.progress()


class _Reading:
    """A history on its way into a `Progress`."""

    def __init__(self, client: Client) -> None:
        self._converter = client.data_converter
        self._types: dict[int, str] = {}
        self._phase = Phase.PREPARING
        self._batch: MessageBatch | None = None
        self._batch_id: str | None = None
        self._polls = 0
        self._posts = 0

    async def take(self, event: HistoryEvent) -> None:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                await self._started(event.workflow_execution_started_event_attributes.input)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                name = event.activity_task_scheduled_event_attributes.activity_type.name
                self._types[event.event_id] = name
                self._scheduled(name)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed = event.activity_task_completed_event_attributes
                await self._completed(self._types.get(completed.scheduled_event_id, ""), completed.result)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED | EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
                failed = event.activity_task_failed_event_attributes.scheduled_event_id
                timed_out = event.activity_task_timed_out_event_attributes.scheduled_event_id
                if self._types.get(failed or timed_out) == SUBMIT:
                    self._phase = Phase.UNDECIDED
                    kind = event.activity_task_failed_event_attributes.failure.application_failure_info.type
                    self._posts -= kind in BY_NAME and not BY_NAME[kind].outcome_unknown
            case _:
                pass

    def progress(self) -> Progress:
        batch = self._batch
        return Progress(
            phase=self._phase,
            batch_id=self._batch_id,
            processing_status=batch.processing_status if batch else None,
            request_counts=batch.request_counts if batch else None,
            polls=self._polls,
            expires_at=batch.expires_at if batch else None,
            posts=self._posts,
        )

    async def _started(self, payloads: Payloads) -> None:
        given = await self._value(payloads)
        self._batch_id = given.get("batchId")
        state = given.get("state")
        if not isinstance(state, dict):
            return
        # The state's own fields are snake_case, the models in it camelCase: both names are read.
        carried = _Carried.model_validate(state)
        self._phase, self._polls = carried.phase, carried.polls
        self._posts = carried.submission.posted
        self._batch_id = carried.submission.batch_id or self._batch_id
        if carried.batch:
            self._saw(carried.batch)

    def _scheduled(self, name: str) -> None:
        if name == SUBMIT:
            self._phase = Phase.SUBMITTING
            self._posts += 1
        elif name == POLL:
            self._phase = Phase.POLLING
        elif name == LAND:
            self._phase = Phase.RETRIEVING

    async def _completed(self, name: str, payloads: Payloads) -> None:
        if name not in (SUBMIT, POLL, STOP):
            return
        value = await self._value(payloads)
        if name == SUBMIT:
            self._batch_id = value.get("recorded") or self._batch_id
            value = value.get("batch") or {}
        if not value.get("id"):
            return
        batch = MessageBatch.model_validate(value)
        self._polls += name == POLL and not batch.ended
        self._saw(batch)

    def _saw(self, batch: MessageBatch) -> None:
        self._batch, self._batch_id = batch, batch.id

    async def _value(self, payloads: Payloads) -> dict[str, Any]:
        values = await self._converter.decode(payloads.payloads)
        return values[0] if values and isinstance(values[0], dict) else {}
