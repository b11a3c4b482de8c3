"""The workers that poll a task queue, as Temporal sees them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import chain

from temporalio.api.enums.v1 import DescribeTaskQueueMode, TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue, TaskQueueVersionSelection
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client

from message_batches.temporal.diagnosis import read_again

POLL_AGE = timedelta(seconds=90)
"""Age at which a poll is no longer recent: each ends after 60 s and is followed by the next."""


async def pollers(
    client: Client, task_queue: str, *, build: str = "", rpc_timeout: timedelta | None = None
) -> list[PollerInfo]:
    """Return the workers of one version that have polled for workflow tasks in the last five minutes.

    Pollers of activities are no sign: they rest while a worker has as many activities under way as it may have,
    which for a landing is hours.

    Args:
        client: of the namespace.
        task_queue: its name.
        build: `<deployment>:<build id>` of a versioned deployment; empty for workers without one.
        rpc_timeout: how long Temporal may take to answer.
    """
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_types=[TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW],
        # The plain mode sees one partition of the queue: five of eight workers.
        api_mode=DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED,
        report_pollers=True,
        versions=TaskQueueVersionSelection(build_ids=[build]) if build else None,
    )
    answer = await client.workflow_service.describe_task_queue(request, timeout=rpc_timeout)
    kinds = [kind for version in answer.versions_info.values() for kind in version.types_info.values()]
    return [poller for kind in kinds for poller in kind.pollers]


async def count_workers(client: Client, task_queue: str) -> int:
    """Return how many workers, of any version, have recently polled a task queue for workflow tasks."""
    answer = await _describe(client, task_queue)
    versions = {"", *_current(answer), *map(_build_of, answer.pollers)}
    found = [
        *answer.pollers,
        *chain.from_iterable([await pollers(client, task_queue, build=each) for each in versions]),
    ]
    return len({poller.identity for poller in found if _any_recent([poller])})


class WorkerState(StrEnum):
    """Whether workers take the tasks of a run."""

    POLLS = "polls"
    OTHER_BUILD = "other-build"
    """Only workers poll that the server hands no task of the run."""
    NONE = "none"


async def worker_state(client: Client, task_queue: str, *, build: str = "") -> WorkerState:
    """Return whether a worker that takes a run's tasks has recently polled its task queue for workflow tasks.

    Args:
        client: of the namespace.
        task_queue: its name.
        build: the build that the run stays on; empty for a run that goes to the current one, or to any without builds.
    """
    answer = await _describe(client, task_queue)
    current = _current(answer)
    wanted = [build] if build else current or [""]
    if any(_any_recent(poller for poller in answer.pollers if _build_of(poller) == each) for each in wanted):
        return WorkerState.POLLS
    for each in wanted:
        if _any_recent(await pollers(client, task_queue, build=each)):
            return WorkerState.POLLS
    others = {"", *current} - {*wanted}
    if _any_recent(answer.pollers):
        return WorkerState.OTHER_BUILD
    for each in others:
        if _any_recent(await pollers(client, task_queue, build=each)):
            return WorkerState.OTHER_BUILD
    return WorkerState.NONE


async def has_worker(client: Client, task_queue: str) -> bool:
    """Check whether a worker that takes new runs has recently polled a task queue for workflow tasks."""
    return await worker_state(client, task_queue) is WorkerState.POLLS


async def _describe(client: Client, task_queue: str) -> DescribeTaskQueueResponse:
    """Describe a queue in the plain mode: only that covers all versions without naming them, and names current ones."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    describe = client.workflow_service.describe_task_queue
    return await read_again(lambda timeout: describe(request, retry=True, timeout=timeout))


def _current(described: DescribeTaskQueueResponse) -> list[str]:
    """Return the versions that new runs go to."""
    routing = described.versioning_info
    versions = (routing.current_deployment_version, routing.ramping_deployment_version)
    return [f"{version.deployment_name}:{version.build_id}" for version in versions if version.build_id]


def _build_of(poller: PollerInfo) -> str:
    options = poller.deployment_options
    if options.worker_versioning_mode != WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED:
        return ""
    return f"{options.deployment_name}:{options.build_id}"


def _any_recent(found: Iterable[PollerInfo]) -> bool:
    oldest = datetime.now(UTC) - POLL_AGE
    return any(poller.last_access_time.ToDatetime(tzinfo=UTC) >= oldest for poller in found)
