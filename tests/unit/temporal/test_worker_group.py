"""Several workers as one: how they end."""

import asyncio
from datetime import timedelta
from typing import cast

from temporalio.worker import Worker

from message_batches.temporal.worker_group import MessageBatchWorker


class NeverEnds:
    """A replacement of an SDK worker whose polls the server does not end, seen once in some hundred stops."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def shutdown(self) -> None:
        await asyncio.Event().wait()


async def test_a_worker_that_the_sdk_does_not_stop_is_abandoned_in_time_and_reported() -> None:
    worker = MessageBatchWorker(cast(Worker, NeverEnds()), shutdown_limit=timedelta(seconds=0.1))

    async with asyncio.timeout(30):
        async with worker:
            assert worker.running

    assert not worker.stopped
