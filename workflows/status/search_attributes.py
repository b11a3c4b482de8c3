"""The search attributes of a run: those that its namespace has, set where they have changed.

Each change is an event of the history, so a change to the rules here needs a patch for the runs that are open.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from message_batches.models import Phase
from message_batches.result_models import Summary
from message_batches.temporal.search_attributes import (
    BATCH_ID,
    BATCH_OUTCOME,
    BATCH_REQUESTS,
    BATCH_STATUS,
    EXPIRY_WARNING,
    BatchOutcome,
    BatchStatus,
)
from workflows.state import RunState


def publish(state: RunState, now: datetime) -> None:
    """Set the attributes that have changed, of those that the namespace has."""
    status = status_of(state, now)
    if status is BatchStatus.UNKNOWN_STATUS and not workflow.patched("unknown-status"):
        status = BatchStatus(state.phase)
    values: dict[SearchAttributeKey[Any], str | int | None] = {
        # From the API's answer: a caller may have given a key in the place of an id.
        BATCH_ID: state.batch.id if state.batch else None,
        BATCH_STATUS: status,
        BATCH_REQUESTS: state.requests,
        BATCH_OUTCOME: state.outcome,
    }
    upsert_changed(values, state.search_attributes)


def upsert_changed(values: Mapping[SearchAttributeKey[Any], str | int | None], usable: Sequence[str]) -> None:
    """Set the attributes that have changed, of those that the namespace has."""
    published = workflow.info().typed_search_attributes
    changes = [
        key.value_set(value)
        for key, value in values.items()
        if key.name in usable and value and value != published.get(key)
    ]
    if changes:
        workflow.upsert_search_attributes(changes)


def status_of(state: RunState, now: datetime) -> BatchStatus | None:
    """Return the run's phase, or why it needs attention; None before anything is sent."""
    batch = state.batch
    if state.phase is Phase.PREPARING:
        return None
    if state.phase is Phase.POLLING and batch and not batch.ended and now >= batch.expires_at - EXPIRY_WARNING:
        return BatchStatus.EXPIRING
    if state.phase is Phase.POLLING and batch and batch.unknown_status:
        return BatchStatus.UNKNOWN_STATUS
    if state.phase is Phase.RETRIEVING and state.landing_fails_since:
        return BatchStatus.LANDING_FAILING
    return BatchStatus(state.phase)


def outcome_of(summary: Summary, requests: int) -> BatchOutcome:
    """Return how so many requests came out, of which these results have landed."""
    succeeded, usable = summary.counts.succeeded, summary.usable
    if not succeeded:
        return BatchOutcome.UNSUCCESSFUL
    if succeeded < requests:
        return BatchOutcome.PARTLY
    return BatchOutcome.SUCCEEDED if usable in (None, succeeded) else BatchOutcome.TRUNCATED
