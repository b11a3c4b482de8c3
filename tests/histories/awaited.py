"""The shapes of runs and jobs that wait for their file, which the replay test replays."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Schedule, ScheduleActionStartWorkflow, ScheduleSpec, WorkflowHandle

from message_batches.contract import JOB_WORKFLOW_TYPE
from message_batches.job_models import JobInput, JobOutput, Retries
from message_batches.models import BatchOutput
from message_batches.schedules.control import trigger_schedule
from tests.harness.requests import requests
from tests.harness.running_jobs import Job, job_when
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, Stack, progress_when

QUICK = timedelta(seconds=0.3)
WAIT = timedelta(hours=1)
NAME = "incoming/{date}.jsonl"

Shape = Callable[[Stack], Awaitable[WorkflowHandle[Any, Any]]]


async def awaited(live: Stack) -> WorkflowHandle[Any, BatchOutput]:
    """Wait for a file that is named by the date, then send it."""
    uri = f"{live.store_url}/{NAME}"
    run = await live.start(requests_uri=uri, requests_uri_zone="UTC", wait_for_requests=WAIT)
    await progress_when(run, lambda seen: seen.waiting_for is not None)
    _put(live, requests(3))
    await run.result()
    return run


async def job_awaited(live: Stack) -> Job:
    """Be fired by a schedule, wait for a file that is named by the date, then send it."""
    given = JobInput(
        requests_uri=f"{live.store_url}/{NAME}",
        requests_uri_zone="UTC",
        wait_for_requests=WAIT,
        poll=QUICK_POLL,
        submission=QUICK_SUBMISSION,
        retries=Retries(waves=0),
    )
    action = ScheduleActionStartWorkflow(JOB_WORKFLOW_TYPE, given, id="nightly", task_queue=live.task_queue)
    spec = ScheduleSpec(cron_expressions=["0 0 1 1 *"])
    schedule = await live.client.create_schedule("nightly", Schedule(action=action, spec=spec))
    workflow_id = (await trigger_schedule(live.client, "nightly")).workflow_id
    assert workflow_id
    await schedule.delete()
    job: Job = live.client.get_workflow_handle(workflow_id, result_type=JobOutput)
    await job_when(job, lambda seen: seen.waiting_for is not None)
    _put(live, requests(3))
    await job.result()
    return job


def _put(live: Stack, given: Sequence[dict[str, Any]]) -> None:
    path = live.store_folder / NAME.replace("{date}", f"{datetime.now(UTC):%Y-%m-%d}")
    path.parent.mkdir()
    path.write_text("".join(f"{json.dumps(each)}\n" for each in given))


AWAITED: dict[Shape, timedelta] = {awaited: QUICK, job_awaited: QUICK}
