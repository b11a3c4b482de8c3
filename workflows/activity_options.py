"""Every timeout and retry policy, one for each activity, with its reason.

Retries are Temporal's alone: the client tries once. What a policy does not retry, the workflow decides on.
"""

from dataclasses import replace
from datetime import timedelta
from typing import TypedDict

from temporalio.common import Priority, RetryPolicy

from message_batches.models import PollSchedule, RetrySchedule


class Policy(TypedDict, total=False):
    """The part of an activity's options that is the same at each call; its summary is not."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    priority: Priority


CONTINUE_AFTER = 100
"""Polls or looks in one run before continue-as-new: replaying 100 costs a restarted worker 0.5 s, 1,000 over 6 s."""

LOOK_EVERY = timedelta(minutes=5)
"""For the batch of a lost POST, where polls are rarer, or the run is to be cancelled and may not continue as new."""

INLINE_LIMIT = 512 * 1024
"""Bytes of inline requests: Temporal warns of larger payloads, and refuses the activity's input from 2 MiB on."""

NOT_FOUND_GRACE = timedelta(minutes=10)
"""A real batch answers 404 for a while after its creation, and now and then later."""

LAST_RECORD = timedelta(minutes=1)
"""How long a run that ends holds on for a store that does not take the record of its batch."""

LIFETIME_MARGIN = timedelta(minutes=10)
"""A batch that expires at its 24 h is seen as ended a little later."""

ASK_AGAIN = timedelta(seconds=30)
"""Before results that were not complete, or not there yet, are asked for again."""

LANDINGS = 5
"""Downloads of results that have ended and are not complete, before the run fails with what is missing."""

_HEARTBEAT = timedelta(seconds=30)

# Where the workers' rate is bounded, hundreds of polls may wait in the queue; these do not wait behind them.
_SOON = Priority(priority_key=1)

_PATIENT = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))

# Idempotent: the manifest is named by its content. The store may be away for hours, nothing is sent before it is back.
# A key that this worker lacks is refused at once, before anything is sent.
PREPARE: Policy = {
    "priority": _SOON,
    "start_to_close_timeout": timedelta(hours=1),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": replace(_PATIENT, non_retryable_error_types=["UnknownKey"]),
}

# Small and idempotent: a read of the list, or records put once. Recording never stops the polling beside it.
RECORD: Policy = {"priority": _SOON, "start_to_close_timeout": timedelta(seconds=20), "retry_policy": _PATIENT}

# The whole list back to the anchor, page by page.
LOOK: Policy = {
    "priority": _SOON,
    "start_to_close_timeout": timedelta(minutes=10),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": _PATIENT,
}

# Whether something was paid twice is worth some minutes, not the results: they are landed all the same.
LAST_LOOK: Policy = {
    "priority": _SOON,
    "start_to_close_timeout": timedelta(minutes=2),
    "schedule_to_close_timeout": timedelta(minutes=5),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": replace(_PATIENT, maximum_attempts=5),
}

# A person waits for the answer: does the batch that is to be adopted exist?
ASK: Policy = {
    "priority": _SOON,
    "start_to_close_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
}

# Reads all results of a candidate. What cannot be read now is read again after the next look.
EXAMINE: Policy = {
    "start_to_close_timeout": timedelta(hours=2),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": RetryPolicy(maximum_attempts=3),
}

# Billing goes on until the provider has stopped the batch; after ten minutes of refusals the run ends all the same, and
# says so. The hour is for the queue: where the workers' rate is bounded, thousands of cancels may wait in it.
CANCEL: Policy = {
    "priority": _SOON,
    "start_to_close_timeout": timedelta(minutes=2),
    "schedule_to_close_timeout": timedelta(hours=1),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=24
    ),
}


# The results are landed, and wait for this: what keeps failing is given up, and said.
DELETE: Policy = {
    "start_to_close_timeout": timedelta(hours=2),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": replace(_PATIENT, maximum_attempts=5),
}


def submit(timeout: timedelta) -> Policy:
    """One attempt: the API has no idempotency key, a second one may buy a second batch.

    The activity ends its POST at `timeout` by itself; Temporal's own limit comes after that. A lost worker is noticed
    by its heartbeats, sooner where the timeout is short.
    """
    return {
        "priority": _SOON,
        "start_to_close_timeout": timeout + timedelta(seconds=30),
        "heartbeat_timeout": max(timedelta(seconds=3), min(_HEARTBEAT, timeout / 4)),
        "retry_policy": RetryPolicy(maximum_attempts=1),
    }


def poll(schedule: PollSchedule) -> Policy:
    """The document's retry for errors that pass; a `Retry-After` overrules its interval.

    A poll has no heartbeat: that its worker is gone shows after one interval, at least 10 s and at most a minute.
    A 404 is not retried here: the workflow has a grace period of its own for it.
    """
    return {
        "start_to_close_timeout": min(max(schedule.retry_after, timedelta(seconds=10)), timedelta(minutes=1)),
        "retry_policy": _document_retry(schedule.transient, not_retried=["BatchNotFound"]),
    }


def anchor(schedule: PollSchedule) -> Policy:
    """A look at the newest batch is as a poll, but a submission waits for it."""
    return {**poll(schedule), "priority": _SOON}


def retrieve(transient: RetrySchedule) -> Policy:
    """Hours for a large batch on a slow line; incomplete results and 404s are counted by the workflow."""
    return {
        "start_to_close_timeout": timedelta(hours=12),
        "heartbeat_timeout": _HEARTBEAT,
        "retry_policy": _document_retry(transient, not_retried=["BatchNotFound", "ResultsIncomplete"]),
    }


def _document_retry(transient: RetrySchedule, *, not_retried: list[str]) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=transient.retry_after,
        backoff_coefficient=1,
        maximum_attempts=transient.retry_limit + 1,
        non_retryable_error_types=not_retried,
    )
