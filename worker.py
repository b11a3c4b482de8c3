"""The worker: wires the API, the store and Temporal together; SIGTERM lets what is under way finish."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities.message_batches import MessageBatchActivities
from activities.submission import SubmissionActivities
from message_batches.call_rate import CallRates
from message_batches.client import HttpBatchApi, http_client
from message_batches.connection import connect, leave, worker_identity
from message_batches.errors import MessageBatchesError
from message_batches.health import Health, Watched, probes
from message_batches.ports import BatchApi, Store
from message_batches.service import landing_queue
from message_batches.settings import Release, Settings
from message_batches.store import ObjectStore, open_store
from message_batches.unless import unless
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


class WorkerFailed(MessageBatchesError):
    """Temporal refused what the worker cannot go on without, such as its namespace."""


class MessageBatchWorker:
    """The workers of a process: one for runs and their calls, one for the landings, which wait for each other alone.

    Where one of them fails, the block that they were entered for is cancelled, and left with `WorkerFailed`.
    """

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers
        self._running: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._leaving = False

    @property
    def runs(self) -> bool:
        """Whether all of them are at work."""
        return not any(running.done() for running in self._running)

    async def __aenter__(self) -> "MessageBatchWorker":
        """Begin to poll."""
        block = asyncio.current_task()
        assert block is not None
        self._running = [asyncio.create_task(self._run(worker, block)) for worker in self._workers]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Let what is under way finish."""
        self._leaving = True
        await asyncio.gather(*(worker.shutdown() for worker in self._workers))
        await asyncio.gather(*self._running)
        if self._failure:
            # What follows is the gRPC status once more, in its internal form.
            text = str(self._failure).partition(": Status {")[0]
            raise WorkerFailed(f"The worker cannot go on: {text}") from self._failure

    async def _run(self, worker: Worker, block: asyncio.Task[object]) -> None:
        try:
            await worker.run()
        except Exception as error:
            self._failure = self._failure or error
            if not self._leaving:
                self._leaving = True
                block.cancel()


def build_worker(
    client: Client,
    api: BatchApi,
    store: Store,
    *,
    task_queue: str,
    scratch: Path | None = None,
    graceful_shutdown_timeout: timedelta = GRACE,
    requests_per_minute: int | None = None,
    release: Release | None = None,
) -> MessageBatchWorker:
    """A worker for the workflow and all its activities, not yet running.

    `requests_per_minute` bounds the calls of all workers that are given it: the server hands out activities no faster.
    """
    deployment = _deployment(release or Release())
    rates = CallRates.within(requests_per_minute) if requests_per_minute else None
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
        deployment_config=deployment,
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
        max_concurrent_activities=MAX_ACTIVITIES,
        max_task_queue_activities_per_second=rates.runs if rates else None,
        disable_eager_activity_execution=bool(rates),  # They come with a workflow task, past the queue and its rate.
        graceful_shutdown_timeout=graceful_shutdown_timeout,
    )
    landings = Worker(
        client,
        task_queue=landing_queue(task_queue),
        activities=[steps.retrieve_results, submission.examine_candidate],
        deployment_config=deployment,
        max_concurrent_activities=LANDINGS,
        max_task_queue_activities_per_second=rates.landings if rates else None,
        graceful_shutdown_timeout=graceful_shutdown_timeout,
    )
    return MessageBatchWorker(runs, landings)


def _deployment(release: Release) -> WorkerDeploymentConfig:
    """Of both queues: a run's landing is done by the build that the run is on."""
    # In place of a hash of all code, 32 characters in five events of every poll.
    build_id = release.build_id or version("message-batches")
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(release.deployment, build_id),
        use_worker_versioning=release.build_id is not None,
        default_versioning_behavior=VersioningBehavior.PINNED if release.build_id else VersioningBehavior.UNSPECIFIED,
    )


async def reach(settings: Settings, address: str | None) -> tuple[Client, ObjectStore, str]:
    """Temporal, the store and the store's id; a server that takes a connection and stays silent is waited for long."""
    client = await connect(address=address, identity=worker_identity())
    # Not in a thread of the loop, which waits for its own at the end: a mount that hangs holds this one for good.
    opening = ThreadPoolExecutor(1, "store-open")
    store = await asyncio.get_running_loop().run_in_executor(opening, open_store, settings.store_url)
    return client, store, await store.identity()


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    address: str | None = None,
    health_address: str | None = None,
    requests_per_minute: int | None = None,
) -> None:
    """Run a worker until `stop` is set, then let what is under way finish."""
    health = Health()
    async with AsyncExitStack() as open_until_the_end:
        # Before anything else, and until all else has ended: a probe is answered at every moment.
        url = await open_until_the_end.enter_async_context(probes(health, health_address)) if health_address else None
        begun = await unless(stop, reach(settings, address))
        if begun is None:
            print("Worker stopping: it had not started yet", flush=True)
            return
        client, store, store_id = begun
        http = await open_until_the_end.enter_async_context(http_client(settings.base_url))
        worker = build_worker(
            client,
            HttpBatchApi(http, settings.keys),
            store,
            task_queue=settings.task_queue,
            scratch=settings.scratch,
            requests_per_minute=requests_per_minute,
            release=settings.release,
        )
        async with worker:
            health.started(
                Watched(client, store, store_id, settings.task_queue, lambda: worker.runs, str(settings.release))
            )
            config = client.service_client.config
            print(
                f"Worker ready: Temporal {config.target_host}, namespace {client.namespace}, "
                f"task queue {settings.task_queue}\n"
                f"  API    {settings.base_url}, keys: {settings.keys}\n"
                f"  store  {store.uri('')} ({store_id})",
                flush=True,
            )
            if build_id := settings.release.build_id:
                named = f"--deployment-name {settings.release.deployment} --build-id {build_id}"
                print(
                    f"  build  {build_id}, for new runs after: temporal worker deployment set-current-version {named}"
                )
            if requests_per_minute:
                print(f"  rate   {requests_per_minute} calls a minute, all workers of the queue together", flush=True)
            if url:
                print(f"  health {url}/healthz", flush=True)
            await stop.wait()
            health.stopping()
            print("Worker stopping: letting what is under way finish", flush=True)


async def main(*, health_address: str | None, requests_per_minute: int | None) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    settings = Settings.from_environment()
    await serve(settings, stop, health_address=health_address, requests_per_minute=requests_per_minute)


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="worker.py", description="Runs message batches. It is configured by its environment: see README."
    )
    parser.add_argument(
        "--health", metavar="HOST:PORT", help="answer /healthz and /livez there, such as 127.0.0.1:8079"
    )
    parser.add_argument(
        "--requests-per-minute",
        type=_positive,
        metavar="N",
        help="calls of the API that all workers of the task queue make together; give it to each of them",
    )
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    options = parser.parse_args(arguments)
    # Only what we log ourselves: at DEBUG the SDK's own loggers write whole payloads.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for ours in ("temporalio.workflow", "temporalio.activity"):
        logging.getLogger(ours).setLevel(options.log_level)
    try:
        asyncio.run(main(health_address=options.health, requests_per_minute=options.requests_per_minute))
    except MessageBatchesError as error:
        print(f"worker.py: {error}", file=sys.stderr)
        return 1 if isinstance(error, WorkerFailed) else 2
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    leave(command())
