"""The search attributes of a run: what a namespace's list of runs can be asked for, and the Web UI shows in columns.

They are for everyone who may see the list, and no codec encrypts them: ids, counts and our own words, never a caller's.
A namespace has those that were registered in it; a run that set another one would stall, so it is asked first.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError

BATCH_ID = SearchAttributeKey.for_keyword("BatchId")

BATCH_STATUS = SearchAttributeKey.for_keyword("BatchStatus")

BATCH_REQUESTS = SearchAttributeKey.for_int("BatchRequests")

BATCH_OUTCOME = SearchAttributeKey.for_keyword("BatchOutcome")

SEARCH_ATTRIBUTES: tuple[SearchAttributeKey[Any], ...] = (BATCH_ID, BATCH_STATUS, BATCH_REQUESTS, BATCH_OUTCOME)

CACHE_SECONDS = 60
"""Seconds that a namespace's answer is good for."""

_TIMEOUT = 5
"""Seconds that the question may hold up a run."""

_logger = logging.getLogger(__name__)


class BatchStatus(StrEnum):
    """`BatchStatus`: a run's phase, and the two in which a phase has come to need attention."""

    SUBMITTING = "submitting"
    UNDECIDED = "undecided"
    POLLING = "polling"
    EXPIRING = "expiring"
    RETRIEVING = "retrieving"
    LANDING_FAILING = "landing-failing"
    LANDED = "landed"
    FAILED = "failed"
    CANCELED = "canceled"


class BatchOutcome(StrEnum):
    """`BatchOutcome` of a run that has ended; that of one that failed is the failure's type."""

    SUCCEEDED = "succeeded"
    PARTLY = "partly"
    UNSUCCESSFUL = "unsuccessful"
    CANCELED = "canceled"


OPEN_STATUSES = tuple(status for status in BatchStatus if status not in ("landed", "failed", "canceled"))
"""The statuses of runs that have not ended."""

NEEDS_ATTENTION = (BatchStatus.UNDECIDED, BatchStatus.EXPIRING, BatchStatus.LANDING_FAILING)
"""The statuses that somebody should look at."""


class UsableAttributes:
    """Which of the search attributes a worker's namespace has, asked for now and then."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._asked = float("-inf")

    async def names(self, client: Client) -> tuple[str, ...]:
        """Their names; none where Temporal does not say: no run fails for it."""
        if time.monotonic() - self._asked > CACHE_SECONDS:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    self._names = usable_names(await registered(client))
            except (RPCError, TimeoutError) as error:
                _logger.warning("Temporal does not say which search attributes there are: %s", error)
                self._names = ()
            self._asked = time.monotonic()
        return self._names


async def registered(client: Client) -> Mapping[str, "IndexedValueType.ValueType"]:
    """The types of all search attributes that were registered in a client's namespace, by name."""
    request = ListSearchAttributesRequest(namespace=client.namespace)
    return (await client.operator_service.list_search_attributes(request)).custom_attributes


async def register(client: Client, names: tuple[str, ...]) -> None:
    """Register search attributes of ours in a client's namespace."""
    wanted = {key.name: indexed_type(key) for key in SEARCH_ATTRIBUTES if key.name in names}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wanted)
    await client.operator_service.add_search_attributes(request)


def usable_names(found: Mapping[str, "IndexedValueType.ValueType"]) -> tuple[str, ...]:
    """Which of ours are there, with the type that they should have."""
    return tuple(key.name for key in SEARCH_ATTRIBUTES if found.get(key.name) == indexed_type(key))


def indexed_type(key: SearchAttributeKey[Any]) -> "IndexedValueType.ValueType":
    """An attribute's type, as the server names it."""
    return IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{key.indexed_value_type.name}")
