"""The worker: wires the API, the store and Temporal together; after SIGTERM, activities under way may finish."""

import argparse
import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.queues import WorkerActivities
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.interface import BatchApi
from message_batches.api.pace import CallPace
from message_batches.api.polls import MAX_POLLS
from message_batches.api.transport import MAX_CALLS
from message_batches.concurrency import run_unless_set
from message_batches.contract import calls_queue, landing_queue
from message_batches.errors import MessageBatchesError
from message_batches.formatting import format_money
from message_batches.listener import set_process_limits
from message_batches.observability.health import Health, WatchedWorker, serve_probes
from message_batches.observability.logs import LogFormat, start_logging
from message_batches.observability.prometheus import (
    COUNT_INTERVAL,
    StalledRuns,
    keep_looking,
    report_open_runs,
    serve_metrics,
    start_telemetry,
)
from message_batches.observability.trace_interceptor import TracingInterceptor
from message_batches.prices import PriceList
from message_batches.settings import Release, Settings, encryption_keys
from message_batches.storage.interface import Store
from message_batches.storage.object_store import open_store
from message_batches.temporal.connection import connect, leave, worker_identity
from message_batches.temporal.diagnosis import call_problem
from message_batches.temporal.namespaces import NamespaceRecords, begin_store, encrypts
from message_batches.temporal.rate_limit import CALLS_SHARE, LANDINGS_SHARE, dispatch_rate, sharing
from message_batches.temporal.worker_group import MessageBatchWorker, WorkerFailed, deployment_config
from message_batches.temporal.workflow_runner import OneArgumentRunner, cached_runs
from message_batches.webhooks.delivery import MAX_DELIVERIES, HttpWebhooks
from message_batches.webhooks.interface import NoWebhooks, Webhooks
from workflows.job import MessageBatchJobWorkflow
from workflows.message_batch import MessageBatchWorkflow
from workflows.nexus import MessageBatchesHandler
from workflows.notifications.workflow import NotificationWorkflow
from workflows.status.current_details import DetailsOnRequest

GRACEFUL_SHUTDOWN = timedelta(seconds=20)
"""The time for which activities may continue after SIGTERM; the next worker repeats those that take longer.

Below the 30 s that Kubernetes waits before it kills."""

MAX_LANDINGS = 1
"""Landings at a time from one server: more would fill the scratch disk, and each would end later."""


@dataclass(frozen=True)
class Options:
    """The options of the command line; all else is in the environment.

    Attributes:
        health: HOST:PORT of the probes.
        metrics: HOST:PORT of the metrics.
        sdk_metrics: the URL of the SDK's own page of them.
        requests_per_minute: bounds the calls of all workers of the task queue.
        tracing: makes spans and sends them.
        count_interval: between two counts of the open runs, for the metrics.
        graceful_shutdown: how long activities may continue once it stops.
        say: reports that the worker starts or stops.
    """

    health: str | None = None
    metrics: str | None = None
    sdk_metrics: str | None = None
    requests_per_minute: int | None = None
    tracing: TracingInterceptor | None = None
    count_interval: timedelta = COUNT_INTERVAL
    graceful_shutdown: timedelta = GRACEFUL_SHUTDOWN
    say: Callable[[str], None] = print


def build_worker(
    client: Client,
    api: BatchApi,
    store: Store,
    *,
    task_queue: str,
    scratch: Path | None = None,
    prices: PriceList | None = None,
    max_cost: Decimal | None = None,
    webhooks: Webhooks | None = None,
    graceful_shutdown_timeout: timedelta = GRACEFUL_SHUTDOWN,
    requests_per_minute: int | None = None,
    release: Release | None = None,
) -> MessageBatchWorker:
    """Return a worker for the workflows and all their activities, not yet running.

    With `requests_per_minute`, which the pace of `api` keeps, the server hands out calls and landings no faster.
    """
    deployment = deployment_config(release or Release())
    webhooks = webhooks or NoWebhooks()
    activities = WorkerActivities(api, store, scratch=scratch, prices=prices, max_cost=max_cost, webhooks=webhooks)
    runs = Worker(
        client,
        task_queue=task_queue,
        workflows=[MessageBatchWorkflow, MessageBatchJobWorkflow, NotificationWorkflow],
        workflow_runner=OneArgumentRunner(),
        activities=activities.of_runs,
        interceptors=[DetailsOnRequest()],
        nexus_service_handlers=[MessageBatchesHandler()],
        deployment_config=deployment,
        max_cached_workflows=cached_runs(),
        # So many of each server's: one that is silent holds no more than its own. So with webhooks.
        max_concurrent_activities=MAX_POLLS * (1 + len(api.servers)) + MAX_DELIVERIES * len(webhooks.names),
        graceful_shutdown_timeout=graceful_shutdown_timeout,
    )
    calls = Worker(
        client,
        task_queue=calls_queue(task_queue),
        activities=activities.of_calls,
        deployment_config=deployment,
        max_concurrent_activities=MAX_CALLS * (1 + len(api.servers)),
        max_task_queue_activities_per_second=dispatch_rate(requests_per_minute, CALLS_SHARE),
        graceful_shutdown_timeout=graceful_shutdown_timeout,
    )
    landings = [
        Worker(
            client,
            task_queue=landing_queue(task_queue, server),
            activities=activities.of_landings,
            deployment_config=deployment,
            max_concurrent_activities=MAX_LANDINGS,
            max_task_queue_activities_per_second=dispatch_rate(requests_per_minute, LANDINGS_SHARE),
            graceful_shutdown_timeout=graceful_shutdown_timeout,
        )
        for server in (None, *api.servers)
    ]
    return MessageBatchWorker(runs, calls, *landings)


async def open_connections(settings: Settings, options: Options, address: str | None) -> tuple[Client, Store, bool]:
    """Return Temporal's client, the store, and whether that is new; takes long if a server stays silent."""
    tracing = [options.tracing] if options.tracing else []
    client = await connect(address=address, identity=worker_identity(), interceptors=tracing)
    store = open_store(settings.store_url, client_options=settings.store_options)
    try:
        new = await begin_store(client, store, settings.task_queue)
    except RPCError as error:
        why = call_problem(error, client.namespace, client.service_client.config.target_host) or error.message
        raise WorkerFailed(
            f"There is no store at {store.uri('')} yet, and Temporal does not say whether runs have used one. Nothing "
            f"was made there. {why}"
        ) from error
    if encrypts(client):
        # Before any run: a caller without a key must not start the first one.
        await NamespaceRecords(store).record_once(client)
    return client, store, new


async def serve(settings: Settings, stop: asyncio.Event, options: Options, *, address: str | None = None) -> None:
    """Run a worker until `stop` is set, then let the activities under way finish."""
    health = Health()
    async with AsyncExitStack() as resources:
        if options.tracing:
            resources.push_async_callback(options.tracing.stop)
        # First of all, and until all else has ended: a probe is answered at any time.
        url = await resources.enter_async_context(serve_probes(health, options.health)) if options.health else None
        scrape = None
        if options.metrics and options.sdk_metrics:
            scrape = await resources.enter_async_context(serve_metrics(options.sdk_metrics, options.metrics))
        opened = await run_unless_set(stop, open_connections(settings, options, address))
        if opened is None:
            options.say("Worker stopping: it had not started yet")
            return
        client, store, new = opened
        store_id = await store.identity()
        http = await resources.enter_async_context(http_client(settings.base_url, network=settings.network))
        pace = CallPace(options.requests_per_minute)
        if options.requests_per_minute:
            await resources.enter_async_context(sharing(pace, client, settings.task_queue))
        worker = build_worker(
            client,
            HttpBatchApi(http, settings.keys, settings.network, pace=pace),
            store,
            task_queue=settings.task_queue,
            scratch=settings.scratch,
            prices=settings.prices,
            max_cost=settings.max_cost,
            webhooks=HttpWebhooks(settings.webhooks, settings.network),
            graceful_shutdown_timeout=options.graceful_shutdown,
            requests_per_minute=options.requests_per_minute,
            release=settings.release,
        )
        meter, queue, every = Runtime.default().metric_meter, settings.task_queue, options.count_interval
        stalled = StalledRuns(client, queue)
        if options.metrics or options.health:
            looking = asyncio.create_task(keep_looking(stalled, client, meter, queue, interval=every))
            resources.callback(looking.cancel)
        if options.metrics:
            counting = asyncio.create_task(report_open_runs(client, meter, queue, interval=every))
            resources.callback(counting.cancel)
        named = f"{store_id}, new" if new else store_id
        async with worker:
            watched = client, store, store_id, settings.task_queue, lambda: worker.running, str(settings.release)
            health.started(WatchedWorker(*watched, stalled=lambda: stalled.counts))
            options.say(
                _ready(client, settings, options, store=f"{store.uri('')} ({named})", health=url, scrape=scrape)
            )
            await stop.wait()
            health.stopping()
            options.say("Worker stopping: letting activities under way finish")
        if not worker.stopped:
            leave(0)


def _ready(
    client: Client, settings: Settings, options: Options, *, store: str, health: str | None, scrape: str | None
) -> str:
    """Return the lines that a worker prints when it is ready."""
    server, queue, release = client.service_client.config.target_host, settings.task_queue, settings.release
    lines = [
        f"Worker ready: Temporal {server}, namespace {client.namespace}, task queue {queue}",
        f"  API    {settings.base_url}, keys: {settings.keys}",
        f"  store  {store}",
    ]
    lines += [f"  {line}" for line in settings.network.lines]
    if keys := encryption_keys():
        also = f", opens also {', '.join(key.id for key in keys[1:])}" if keys[1:] else ""
        lines.append(f"  codec  encrypts with key {keys[0].id}{also}")
    if release.build_id:
        named = f"--deployment-name {release.deployment} --build-id {release.build_id}"
        made_current = f"temporal worker deployment set-current-version {named}"
        lines.append(f"  build  {release.build_id}, for new runs after: {made_current}")
    rate, limit = options.requests_per_minute, settings.max_cost
    more = {
        "rate": f"{rate} calls a minute, all workers of the queue together" if rate else None,
        "limit": f"{format_money(limit)} for the requests of a run, by the estimate" if limit else None,
        "hooks": f"{settings.webhooks}" if settings.webhooks.by_name else None,
        "health": f"{health}/healthz" if health else None,
        "scrape": scrape,
    }
    lines += [f"  {name:<6} {text}" for name, text in more.items() if text]
    return "\n".join(lines)


async def main(options: Options) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    await serve(Settings.from_environment(), stop, options)


def command(arguments: Sequence[str] | None = None, *, count_interval: timedelta = COUNT_INTERVAL) -> int:
    """Run the worker from its command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="worker.py",
        description="Runs message batches. It is configured by its environment: see docs/configuration.md.",
    )
    parser.add_argument("--health", metavar="HOST:PORT", help="answer /healthz and /livez at, say, 127.0.0.1:8079")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="serve Prometheus's /metrics at, say, 127.0.0.1:9464")
    parser.add_argument(
        "--requests-per-minute",
        type=_positive,
        metavar="N",
        help="calls of the API that all workers of the task queue make together; give it to each of them",
    )
    parser.add_argument("--otel", action="store_true", help="send traces, as the variables OTEL_* have it")
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parser.add_argument("--log-format", default=LogFormat.TEXT, choices=list(LogFormat), type=LogFormat)
    given = parser.parse_args(arguments)
    log = start_logging(given.log_format, given.log_level)
    set_process_limits()
    try:
        options = Options(
            health=given.health,
            metrics=given.metrics,
            sdk_metrics=start_telemetry(metrics=bool(given.metrics)),
            requests_per_minute=given.requests_per_minute,
            tracing=TracingInterceptor.begin("message-batches-worker") if given.otel else None,
            count_interval=count_interval,
            say=log.say,
        )
        asyncio.run(main(options))
    except MessageBatchesError as error:
        log.fail(f"worker.py: {error}")
        return 1 if isinstance(error, WorkerFailed) else 2
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    leave(command())
