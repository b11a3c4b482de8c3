"""What keeps a run waiting: activities that fail again and again, a task queue that no worker polls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
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


def troubles(pending: Sequence[PendingActivityInfo]) -> tuple[Trouble, ...]:
    """The pending activities that have failed."""
    return tuple(
        Trouble(
            activity=activity.activity_type.name,
            attempt=activity.attempt,
            failure=_message(activity),
            next_attempt=(
                activity.next_attempt_schedule_time.ToDatetime(tzinfo=UTC)
                if activity.HasField("next_attempt_schedule_time")
                else None
            ),
        )
        for activity in pending
        if activity.attempt > 1 and activity.HasField("last_failure")
    )


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


def _message(activity: PendingActivityInfo) -> str:
    failure = activity.last_failure
    return failure.message or failure.application_failure_info.type or "no reason given"
