"""The process's telemetry: one Prometheus page for our metrics and the SDK's, the SDK's log, and the open runs."""

import asyncio
import logging
from datetime import timedelta

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

from message_batches.contract import WORKFLOW_TYPE
from message_batches.listen_address import CannotListen, socket_address
from message_batches.observability.metrics import OPEN_RUNS, buckets
from message_batches.temporal.search_attributes import BATCH_STATUS, OPEN_STATUSES, UsableAttributes

METRICS_PORT = 9464
_CORE = TelemetryFilter(core_level="WARN", other_level="ERROR")


def start_telemetry(metrics_address: str | None) -> str | None:
    """Set up telemetry before the first connection; return the URL of the metrics page, None without an address."""
    forwarding = LogForwardingConfig(
        logging.getLogger("temporalio.core"),
        append_target_to_name=False,
        prepend_target_on_message=False,
        append_log_fields_to_message=False,
    )
    metrics = _prometheus(metrics_address) if metrics_address else None
    telemetry = TelemetryConfig(
        logging=LoggingConfig(filter=_CORE, forwarding=forwarding), metrics=metrics, attach_service_name=False
    )
    try:
        runtime = Runtime(telemetry=telemetry)
    except ValueError as error:
        # The error number follows.
        reason = str(error).rpartition(": ")[2].partition(" (os error")[0]
        raise CannotListen(f"--metrics cannot listen on {metrics_address}: {reason}") from error
    Runtime.set_default(runtime, error_if_already_set=False)
    return f"http://{metrics.bind_address}/metrics" if metrics else None


def _prometheus(address: str) -> PrometheusConfig:
    bound = socket_address("--metrics", address, METRICS_PORT)
    if bound.endswith(":0"):
        raise CannotListen("--metrics needs a fixed port, such as 9464, not 0")
    return PrometheusConfig(
        bind_address=bound,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
        histogram_bucket_overrides=buckets(),
    )


COUNT_INTERVAL = timedelta(seconds=20)
"""Between two counts by default: about as often as Prometheus scrapes."""

_logger = logging.getLogger(__name__)


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
    running = f'WorkflowType = "{WORKFLOW_TYPE}" AND TaskQueue = "{task_queue}" AND ExecutionStatus = "Running"'
    for status in OPEN_STATUSES:
        found = await client.count_workflows(f'{running} AND {BATCH_STATUS.name} = "{status}"')
        OPEN_RUNS.set(meter, found.count, status=status.value)
