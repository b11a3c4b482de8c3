"""The worker: wires the API, the store and Temporal together; SIGTERM lets what is under way finish."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities.message_batches import MessageBatchActivities
from activities.submission import SubmissionActivities
from message_batches.client import HttpBatchApi, http_client
from message_batches.connection import connect, leave
from message_batches.errors import MessageBatchesError
from message_batches.ports import BatchApi, Store
from message_batches.service import landing_queue
from message_batches.settings import Settings
from message_batches.store import open_store
from workflows.message_batch import MessageBatchWorkflow

GRACE = timedelta(seconds=20)
"""How long activities may go on after SIGTERM; what takes longer, the next worker takes up.

Below the 30 s that Kubernetes waits before it kills."""

MAX_CACHED_WORKFLOWS = 5000
"""Above the number of live runs: below it a worker replays a run at every step."""

MAX_ACTIVITIES = 100
"""Above the HTTP pool, which bounds the calls."""

LANDINGS = 1
"""Landings at a time: more would fill the scratch disk, and they would all be done later."""


class MessageBatchWorker:
    """The workers of a process: one for runs and their calls, one for the landings, which wait for each other alone."""

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers

    async def __aenter__(self) -> "MessageBatchWorker":
        """Begin to poll."""
        async with AsyncExitStack() as running:
            for worker in self._workers:
                await running.enter_async_context(worker)
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Let what is under way finish."""
        await asyncio.gather(*(worker.shutdown() for worker in self._workers))
        await self._running.aclose()


def build_worker(
    client: Client,
    api: BatchApi,
    store: Store,
    *,
    task_queue: str,
    scratch: Path | None = None,
    graceful_shutdown_timeout: timedelta = GRACE,
) -> MessageBatchWorker:
    """A worker for the workflow and all its activities, not yet running."""
    steps = MessageBatchActivities(api, store, scratch=scratch)
    submission = SubmissionActivities(api, store)
    runs = Worker(
        client,
        task_queue=task_queue,
        workflows=[MessageBatchWorkflow],
        activities=[
            steps.prepare_requests,
            steps.submit_batch,
            steps.poll_batch_status,
            steps.cancel_batch,
            submission.find_anchor,
            submission.find_candidates,
            submission.settle_submission,
        ],
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
        max_concurrent_activities=MAX_ACTIVITIES,
        graceful_shutdown_timeout=graceful_shutdown_timeout,
    )
    landings = Worker(
        client,
        task_queue=landing_queue(task_queue),
        activities=[steps.retrieve_results, submission.examine_candidate],
        max_concurrent_activities=LANDINGS,
        graceful_shutdown_timeout=graceful_shutdown_timeout,
    )
    return MessageBatchWorker(runs, landings)


async def serve(settings: Settings, stop: asyncio.Event, *, address: str | None = None) -> None:
    """Run a worker until `stop` is set, then let what is under way finish."""
    client = await connect(address=address)
    store = open_store(settings.store_url)
    store_id = await store.identity()
    async with http_client(settings.base_url) as http:
        worker = build_worker(
            client,
            HttpBatchApi(http, settings.keys),
            store,
            task_queue=settings.task_queue,
            scratch=settings.scratch,
        )
        async with worker:
            config = client.service_client.config
            print(
                f"Worker ready: Temporal {config.target_host}, namespace {client.namespace}, "
                f"task queue {settings.task_queue}\n"
                f"  API    {settings.base_url}, keys: {', '.join(settings.keys.names) or 'none'}\n"
                f"  store  {store.uri('')} ({store_id})",
                flush=True,
            )
            await stop.wait()
            print("Worker stopping: letting what is under way finish", flush=True)


async def main() -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    await serve(Settings.from_environment(), stop)


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="worker.py", description="Runs message batches. It is configured by its environment: see README."
    )
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    options = parser.parse_args(arguments)
    # Only what we log ourselves: at DEBUG the SDK's own loggers write whole payloads.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for ours in ("temporalio.workflow", "temporalio.activity"):
        logging.getLogger(ours).setLevel(options.log_level)
    try:
        asyncio.run(main())
    except MessageBatchesError as error:
        print(f"worker.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    leave(command())
