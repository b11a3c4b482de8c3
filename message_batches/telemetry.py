"""What the SDK's core tells of itself: its metrics, on one page with ours, and its log, through Python's."""

import logging

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from message_batches.listening import CannotListen, socket_address
from message_batches.metrics import buckets

METRICS_PORT = 9464
_CORE = TelemetryFilter(core_level="WARN", other_level="ERROR")


def begin_telemetry(metrics_address: str | None) -> str | None:
    """Set the process up before its first connection; the URL of the page of metrics, if it is to have one."""
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
        # What follows is the number of the error.
        reason = str(error).rpartition(": ")[2].partition(" (os error")[0]
        raise CannotListen(f"--metrics cannot listen on {metrics_address}: {reason}") from error
    Runtime.set_default(runtime, error_if_already_set=False)
    return f"http://{metrics.bind_address}/metrics" if metrics else None


def _prometheus(address: str) -> PrometheusConfig:
    bound = socket_address("--metrics", address, METRICS_PORT)
    if bound.endswith(":0"):
        raise CannotListen("--metrics takes a port that is known beforehand, such as 9464, not 0")
    return PrometheusConfig(
        bind_address=bound,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
        histogram_bucket_overrides=buckets(),
    )
