"""An activity whose workers end before it does is given up; one that fails by itself is tried on and on."""

from datetime import timedelta
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from activities.failures import errors_as_failures
from activities.timeouts import MAX_LOST_ATTEMPTS, heartbeats_counting_lost_attempts
from message_batches.errors import StoreUnavailable
from message_batches.temporal.dev_server import DevServer

ATTEMPTS = 3 * MAX_LOST_ATTEMPTS


@activity.defn(name="failing")
async def failing() -> list[int]:
    """Fail by itself at each attempt but the last, which returns the details that the one before it left."""
    with errors_as_failures():
        async with heartbeats_counting_lost_attempts():
            if activity.info().attempt < ATTEMPTS:
                raise StoreUnavailable("away")
            return list(activity.info().heartbeat_details)


@workflow.defn(name="trying", sandboxed=False)
class Trying:
    @workflow.run
    async def run(self) -> list[int]:
        return await workflow.execute_activity(
            failing,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1), backoff_coefficient=1),
        )


async def test_attempts_that_fail_by_themselves_are_not_counted(temporal: DevServer) -> None:
    queue = f"lost-{uuid4()}"
    async with Worker(temporal.client, task_queue=queue, workflows=[Trying], activities=[failing]):
        found = await temporal.client.execute_workflow(Trying.run, id=queue, task_queue=queue)
    assert found == [0]
