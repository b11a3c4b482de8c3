"""What keeps a run waiting: activities that fail again and again, a task queue that no worker polls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.failure.v1 import Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

POLLER_AGE = timedelta(seconds=75)
"""A worker's long poll lasts a minute; the server names those of the last five."""


@dataclass(frozen=True)
class Trouble:
    """An activity that keeps failing and is tried again."""

    activity: str
    attempt: int
    failure: str
    next_attempt: datetime | None


async def troubles(client: Client, pending: Sequence[PendingActivityInfo]) -> tuple[Trouble, ...]:
    """The pending activities that have failed."""
    failed = [activity for activity in pending if activity.attempt > 1 and activity.HasField("last_failure")]
    return tuple([await _trouble(client, activity) for activity in failed])


async def has_worker(client: Client, task_queue: str) -> bool:
    """Whether a worker has polled a task queue for workflow tasks of late."""
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    oldest = datetime.now(UTC) - POLLER_AGE
    return any(poller.last_access_time.ToDatetime(tzinfo=UTC) >= oldest for poller in answer.pollers)


async def _trouble(client: Client, activity: PendingActivityInfo) -> Trouble:
    due = activity.next_attempt_schedule_time.ToDatetime(tzinfo=UTC)
    return Trouble(
        activity=activity.activity_type.name,
        attempt=activity.attempt,
        failure=await _message(client, activity.last_failure),
        next_attempt=due if activity.HasField("next_attempt_schedule_time") else None,
    )


async def _message(client: Client, failure: Failure) -> str:
    """What it says, and its cause where that says more: what an input was refused for."""
    error = await client.data_converter.decode_failure(failure)
    said = [getattr(each, "message", "") for each in (error, error.__cause__)]
    return ": ".join(dict.fromkeys(filter(None, said))) or failure.application_failure_info.type or "no reason given"
