"""The worker: wires the API, the store and Temporal together; SIGTERM lets what is under way finish."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities.message_batches import MessageBatchActivities
from activities.submission import SubmissionActivities
from message_batches.client import HttpBatchApi, http_client
from message_batches.connection import connect
from message_batches.errors import MessageBatchesError
from message_batches.ports import BatchApi, Store
from message_batches.settings import Settings
from message_batches.store import open_store
from workflows.message_batch import MessageBatchWorkflow

GRACE = timedelta(seconds=30)
"""How long activities may go on after SIGTERM; a POST that takes longer is reconciled by the next worker."""

MAX_CACHED_WORKFLOWS = 5000
"""Above the number of live runs: below it a worker replays a run at every step."""

MAX_ACTIVITIES = 500
"""Far above the HTTP pool, which bounds the calls: landings wait for each other in their slots, polls must not."""


def build_worker(
    client: Client,
    api: BatchApi,
    store: Store,
    *,
    task_queue: str,
    scratch: Path | None = None,
    graceful_shutdown_timeout: timedelta = GRACE,
) -> Worker:
    """A worker for the workflow and all its activities, not yet running."""
    steps = MessageBatchActivities(api, store, scratch=scratch)
    submission = SubmissionActivities(api, store)
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[MessageBatchWorkflow],
        activities=[
            steps.prepare_requests,
            steps.submit_batch,
            steps.poll_batch_status,
            steps.retrieve_results,
            steps.cancel_batch,
            submission.find_anchor,
            submission.find_candidates,
            submission.examine_candidate,
            submission.settle_submission,
        ],
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
        max_concurrent_activities=MAX_ACTIVITIES,
        graceful_shutdown_timeout=graceful_shutdown_timeout,
    )


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
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(main())
    except MessageBatchesError as error:
        print(f"worker.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command())
