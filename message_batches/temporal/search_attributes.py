"""The search attributes of a run: what a list of runs can be filtered by, and the columns of the Web UI.

Everyone who may list runs sees them, and no codec encrypts them: ids, counts and our own words, never a caller's text.
A run that set an attribute not registered in its namespace would stall, so the namespace is asked first.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError

from message_batches.temporal.diagnosis import read_again

BATCH_ID = SearchAttributeKey.for_keyword("BatchId")
BATCH_STATUS = SearchAttributeKey.for_keyword("BatchStatus")
BATCH_REQUESTS = SearchAttributeKey.for_int("BatchRequests")
BATCH_OUTCOME = SearchAttributeKey.for_keyword("BatchOutcome")
SCHEDULED_TIME = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""Temporal's own: the time that a run was due at which a schedule has started."""

SEARCH_ATTRIBUTES: tuple[SearchAttributeKey[Any], ...] = (BATCH_ID, BATCH_STATUS, BATCH_REQUESTS, BATCH_OUTCOME)
CACHE_SECONDS = 60
"""Seconds for which a namespace's answer is reused."""

_TIMEOUT = 5
"""Seconds that asking the namespace may delay a run."""

_logger = logging.getLogger(__name__)


EXPIRY_WARNING = timedelta(hours=2)
"""The time before its expiry in which a batch that has not ended needs attention."""


class BatchStatus(StrEnum):
    """`BatchStatus`: the phase of a run or a job, and three states of a run's phase that need attention."""

    SUBMITTING = "submitting"
    UNDECIDED = "undecided"
    POLLING = "polling"
    UNKNOWN_STATUS = "unknown-status"
    EXPIRING = "expiring"
    RETRIEVING = "retrieving"
    LANDING_FAILING = "landing-failing"
    PLANNING = "planning"
    RUNNING = "running"
    PAUSED = "paused"
    MERGING = "merging"
    LANDED = "landed"
    FAILED = "failed"
    CANCELED = "canceled"


class BatchOutcome(StrEnum):
    """`BatchOutcome` of a run that has ended; for a failed run it is the failure's type."""

    SUCCEEDED = "succeeded"
    TRUNCATED = "truncated"
    PARTLY = "partly"
    UNSUCCESSFUL = "unsuccessful"
    CANCELED = "canceled"


OPEN_STATUSES = tuple(status for status in BatchStatus if status not in ("landed", "failed", "canceled"))
"""The statuses of runs that have not ended."""

NEEDS_ATTENTION = (
    BatchStatus.UNDECIDED,
    BatchStatus.UNKNOWN_STATUS,
    BatchStatus.EXPIRING,
    BatchStatus.LANDING_FAILING,
    BatchStatus.PAUSED,
)
"""The statuses that need an operator."""


class UsableAttributes:
    """The search attributes that a worker's namespace has, cached for a minute."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._asked = float("-inf")

    async def names(self, client: Client) -> tuple[str, ...]:
        """Return their names; none if Temporal does not answer: no run fails for that."""
        if time.monotonic() - self._asked > CACHE_SECONDS:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    self._names = usable_names(await registered(client))
            except (RPCError, TimeoutError) as error:
                _logger.warning("Temporal does not list the search attributes: %s", error)
                self._names = ()
            self._asked = time.monotonic()
        return self._names


async def registered(client: Client) -> Mapping[str, "IndexedValueType.ValueType"]:
    """Return the types of all search attributes registered in a client's namespace, by name."""
    request = ListSearchAttributesRequest(namespace=client.namespace)
    ask = client.operator_service.list_search_attributes
    return (await read_again(lambda timeout: ask(request, retry=True, timeout=timeout))).custom_attributes


async def register(client: Client, names: tuple[str, ...]) -> None:
    """Register some of our search attributes in a client's namespace."""
    wanted = {key.name: indexed_type(key) for key in SEARCH_ATTRIBUTES if key.name in names}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wanted)
    await client.operator_service.add_search_attributes(request)


def usable_names(found: Mapping[str, "IndexedValueType.ValueType"]) -> tuple[str, ...]:
    """Return the names of our attributes that are registered with the right type."""
    return tuple(key.name for key in SEARCH_ATTRIBUTES if found.get(key.name) == indexed_type(key))


def indexed_type(key: SearchAttributeKey[Any]) -> "IndexedValueType.ValueType":
    """Return an attribute's type as the server names it."""
    return IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{key.indexed_value_type.name}")
