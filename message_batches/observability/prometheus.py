"""The process's telemetry: one Prometheus page for our metrics and the SDK's, the SDK's log, and the open runs."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, hdrs, web
from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError

from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.listener import CannotListen, listening
from message_batches.observability.metrics import OPEN_RUNS, STALLED_RUNS, buckets
from message_batches.runs.attention import MAX_LOOKED_AT
from message_batches.runs.describe import RunNotFound, describe_execution
from message_batches.runs.list import list_executions
from message_batches.runs.obstacles import Cause, Queues, find_obstacles
from message_batches.temporal.search_attributes import BATCH_STATUS, OPEN_STATUSES, UsableAttributes

METRICS_PORT = 9464
_CORE = TelemetryFilter(core_level="WARN", other_level="ERROR")
_PORTS_TRIED = 20


def start_telemetry(*, metrics: bool) -> str | None:
    """Set up telemetry before the first connection; return the URL of the SDK's own page of metrics, if it has one.

    The SDK bounds neither the connections to its page nor their time, so it is on loopback: `serve_metrics` is for
    everybody else.
    """
    forwarding = LogForwardingConfig(
        logging.getLogger("temporalio.core"),
        append_target_to_name=False,
        prepend_target_on_message=False,
        append_log_fields_to_message=False,
    )
    telemetry = TelemetryConfig(logging=LoggingConfig(filter=_CORE, forwarding=forwarding), attach_service_name=False)
    runtime, page = _with_page(telemetry) if metrics else (Runtime(telemetry=telemetry), None)
    Runtime.set_default(runtime, error_if_already_set=False)
    return page


def _with_page(telemetry: TelemetryConfig) -> tuple[Runtime, str]:
    """Return a runtime that serves its metrics on loopback, and the URL."""
    for tries_left in reversed(range(_PORTS_TRIED)):
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        try:
            return Runtime(telemetry=replace(telemetry, metrics=_prometheus(address))), f"http://{address}/metrics"
        except ValueError as error:
            # Another process has taken the port meanwhile.
            if not tries_left:
                raise CannotListen(f"--metrics: the SDK finds no free port on loopback: {error}") from error
    raise AssertionError("unreachable")


@asynccontextmanager
async def serve_metrics(page: str, address: str) -> AsyncIterator[str]:
    """Serve the SDK's page at HOST:PORT and yield the URL; port 0 means any free port."""
    async with ClientSession(connector=TCPConnector(limit=2), timeout=ClientTimeout(total=10)) as http:

        async def metrics(_: web.Request) -> web.Response:
            try:
                async with http.get(page) as got:
                    return web.Response(
                        status=got.status,
                        body=await got.read(),
                        headers={hdrs.CONTENT_TYPE: got.headers[hdrs.CONTENT_TYPE]},
                    )
            except (ClientError, TimeoutError) as error:
                return web.Response(
                    status=503, text=f"The SDK's page of metrics does not answer: {type(error).__name__}\n"
                )

        app = web.Application()
        app.add_routes([web.get("/metrics", metrics)])
        async with listening("--metrics", address, app, example=METRICS_PORT) as url:
            yield f"{url}/metrics"


def _prometheus(address: str) -> PrometheusConfig:
    return PrometheusConfig(
        bind_address=address,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
        histogram_bucket_overrides=buckets(),
    )


COUNT_INTERVAL = timedelta(seconds=20)
"""Between two counts by default: about as often as Prometheus scrapes."""

_TYPES = f'"{WORKFLOW_TYPE}", "{JOB_WORKFLOW_TYPE}"'

_logger = logging.getLogger(__name__)


LOOKED_AT_ONCE = 50
"""Open runs that are described at each count, in turn: with 1,000 each is looked at every seven minutes."""


class StalledRuns:
    """The open runs and jobs of a queue that do not move, by cause; a bounded number is looked at, in turn."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._query = f'WorkflowType IN ({_TYPES}) AND CloseTime IS NULL AND TaskQueue = "{task_queue}"'
        self._seen: dict[str, frozenset[Cause]] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of runs for each cause that any has."""
        return Counter(cause.value for causes in self._seen.values() for cause in causes)

    async def look(self) -> None:
        """Look at the runs that were not looked at for the longest time."""
        there = [run.execution.workflow_id async for run in list_executions(self._client, self._query, MAX_LOOKED_AT)]
        # A dictionary keeps the order in which its entries were made: the oldest come first.
        known = [workflow_id for workflow_id in self._seen if workflow_id in set(there)]
        new = [workflow_id for workflow_id in there if workflow_id not in self._seen]
        queues = Queues(self._client)
        seen = {workflow_id: self._seen[workflow_id] for workflow_id in known}
        for workflow_id in [*new, *known][:LOOKED_AT_ONCE]:
            seen.pop(workflow_id, None)
            with suppress(RunNotFound):
                described = await describe_execution(self._client, workflow_id, WORKFLOW_TYPE, JOB_WORKFLOW_TYPE)
                found = await find_obstacles(self._client, described, queues)
                seen[workflow_id] = frozenset(each.cause for each in found)
        self._seen = seen


async def keep_looking(
    stalled: StalledRuns, client: Client, meter: MetricMeter, task_queue: str, *, interval: timedelta = COUNT_INTERVAL
) -> None:
    """Look at intervals until cancelled, and set the metric."""
    labelled = meter.with_additional_attributes({"namespace": client.namespace, "task_queue": task_queue})
    while True:
        try:
            await stalled.look()
            for cause in Cause:
                STALLED_RUNS.set(labelled, stalled.counts.get(cause.value, 0), cause=cause.value)
        except RPCError as error:
            _logger.warning("The runs that do not move cannot be counted now: %s", error.message)
        await asyncio.sleep(interval.total_seconds())


async def report_open_runs(
    client: Client, meter: MetricMeter, task_queue: str, *, interval: timedelta = COUNT_INTERVAL
) -> None:
    """Count open runs at intervals until cancelled; without `BatchStatus` in the namespace nothing is counted."""
    labelled = meter.with_additional_attributes({"namespace": client.namespace, "task_queue": task_queue})
    attributes = UsableAttributes()
    while True:
        if BATCH_STATUS.name in await attributes.names(client):
            try:
                await _count(client, labelled, task_queue)
            except RPCError as error:
                _logger.warning("The open runs cannot be counted now: %s", error.message)
        await asyncio.sleep(interval.total_seconds())


async def _count(client: Client, meter: MetricMeter, task_queue: str) -> None:
    running = f'WorkflowType IN ({_TYPES}) AND TaskQueue = "{task_queue}" AND ExecutionStatus = "Running"'
    for status in OPEN_STATUSES:
        found = await client.count_workflows(f'{running} AND {BATCH_STATUS.name} = "{status}"')
        OPEN_RUNS.set(meter, found.count, status=status.value)
