"""`BatchRuns` as a program makes it: with a client, a store and the settings of its environment."""

from datetime import timedelta

import pytest

from message_batches import BatchRun, BatchRuns, Phase, RunView
from message_batches.library.options import SendKeywords
from message_batches.settings import Settings
from tests.harness.stack import Stack
from tests.harness.waiting import eventually

EVERY = timedelta(seconds=0.1)
QUICK = SendKeywords(poll_interval=EVERY, submission_timeout=timedelta(seconds=8), quiet_period=timedelta(seconds=2))
UNDECIDED = SendKeywords(poll_interval=EVERY, submission_timeout=timedelta(seconds=8), quiet_period=timedelta(hours=1))


def batch_runs(stack: Stack) -> BatchRuns:
    """Return the runs of a stack."""
    settings = Settings.from_environment({"MESSAGE_BATCHES_TASK_QUEUE": stack.task_queue}, calls_api=False)
    return BatchRuns(stack.client, stack.store_url, settings=settings)


async def waits(run: BatchRun) -> None:
    """Wait until a run polls its batch."""

    async def polls() -> bool:
        seen = await run.progress()
        return isinstance(seen, RunView) and seen.progress is not None and seen.progress.phase is Phase.POLLING

    await eventually(polls, f"{run.id} to poll")


@pytest.fixture
def runs(live: Stack) -> BatchRuns:
    return batch_runs(live)
