"""The census of a worker: how many runs of its queue are under way, by where they stand."""

import asyncio
import logging

from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.service import RPCError

from message_batches.metrics import OPEN_RUNS
from message_batches.models import WORKFLOW_TYPE
from message_batches.search_attributes import BATCH_STATUS, OPEN, UsableAttributes

EVERY = 20
"""Seconds between two counts."""
_logger = logging.getLogger(__name__)


async def keep_counting(client: Client, meter: MetricMeter, task_queue: str) -> None:
    """Count now and then, as long as it is awaited; where the namespace lacks `BatchStatus` nothing is counted."""
    labelled = meter.with_additional_attributes({"namespace": client.namespace, "task_queue": task_queue})
    attributes = UsableAttributes()
    while True:
        if BATCH_STATUS.name in await attributes.names(client):
            try:
                await _count(client, labelled, task_queue)
            except RPCError as error:
                _logger.warning("The runs under way cannot be counted now: %s", error.message)
        await asyncio.sleep(EVERY)


async def _count(client: Client, meter: MetricMeter, task_queue: str) -> None:
    running = f'WorkflowType = "{WORKFLOW_TYPE}" AND TaskQueue = "{task_queue}" AND ExecutionStatus = "Running"'
    for status in OPEN:
        found = await client.count_workflows(f'{running} AND {BATCH_STATUS.name} = "{status}"')
        OPEN_RUNS.set(meter, found.count, status=status.value)
