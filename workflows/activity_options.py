"""The timeouts and retry policies of the activities, and the limits of a run, each with its reason.

Retries are Temporal's alone: the client tries once. The workflow decides on errors that a policy does not retry.
"""

from dataclasses import replace
from datetime import timedelta
from typing import TypedDict

from temporalio.common import Priority, RetryPolicy

from message_batches.models import PollSchedule, RetrySchedule


class ActivityOptions(TypedDict, total=False):
    """The options of an activity that are the same at each call; its summary is not."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    priority: Priority


LIST_INTERVAL = timedelta(minutes=5)
"""Between reads of the list after a lost reply, where polls are rarer, or a cancelled run may not continue as new."""

INLINE_LIMIT = 512 * 1024
"""Bytes of inline requests: Temporal warns of larger payloads, and refuses the activity's input from 2 MiB on."""

NOT_FOUND_GRACE = timedelta(minutes=10)
"""A real batch answers 404 for a while after its creation, and occasionally later."""

RECORD_GRACE = timedelta(minutes=1)
"""The time for which a run that ends waits for a store that does not accept the record of its batch."""

LIFETIME_MARGIN = timedelta(minutes=10)
"""The time after its 24 h for which an expiring batch may still be reported as unfinished."""

DOWNLOAD_INTERVAL = timedelta(seconds=30)
"""Before results that were not complete, or not there yet, are downloaded again."""

MAX_DOWNLOADS = 5
"""Downloads of results that arrived and were not complete, before the run fails and names what is missing."""

DELIVERY_INTERVAL = timedelta(seconds=5)
"""Before the second attempt to deliver an event; each later one waits three times as long, at most four hours."""

_DELIVERY_BACKOFF, _FIRST_DELIVERIES = 3, 4
_MAX_DELIVERY_INTERVAL, _DELIVERIES = timedelta(hours=4), timedelta(hours=24)

_HEARTBEAT = timedelta(seconds=30)

# Where the calls are bounded, hundreds of submissions may wait in the queue; these are handed out before them.
_FIRST = Priority(priority_key=1)
_FIXED_BEFORE_SENDING = ("UnknownKey", "UnknownWebhook")
_UNLIMITED = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))

# Idempotent: the manifest is named by its content. The store may be unavailable for hours; nothing is sent before. The
# activity itself gives up after a few workers that did not survive it.
# A key or a webhook that this worker lacks is refused at once.
PREPARE: ActivityOptions = {
    "start_to_close_timeout": timedelta(hours=1),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": replace(_UNLIMITED, non_retryable_error_types=_FIXED_BEFORE_SENDING),
}

# A look at one object. The store may be unavailable for hours: a file that is waited for is found after that too.
FIND_REQUESTS: ActivityOptions = {
    "start_to_close_timeout": timedelta(seconds=45),
    "retry_policy": _UNLIMITED,
}

# Small and idempotent: records put once. Recording never stops the polling alongside it.
RECORD: ActivityOptions = {
    "start_to_close_timeout": timedelta(seconds=20),
    "retry_policy": _UNLIMITED,
}

# The whole list back to the anchor, page by page.
FIND_CANDIDATES: ActivityOptions = {
    "start_to_close_timeout": timedelta(minutes=10),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": _UNLIMITED,
}

# Whether something was paid twice is worth some minutes, not the results: they are landed in any case.
DUPLICATE_CHECK: ActivityOptions = {
    "start_to_close_timeout": timedelta(minutes=2),
    "schedule_to_close_timeout": timedelta(minutes=5),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": replace(_UNLIMITED, maximum_attempts=5),
}

# An operator waits for the answer: does the batch that is to be adopted exist?
OPERATOR_LOOKUP: ActivityOptions = {
    "priority": _FIRST,
    "start_to_close_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
}

# Reads all results of a candidate. Results that cannot be read now are read again after the list is read next.
VERIFY: ActivityOptions = {
    "start_to_close_timeout": timedelta(hours=2),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": RetryPolicy(maximum_attempts=3),
}

# Billing continues until the provider has cancelled the batch; after ten minutes of refusals the run ends and says
# so. The hour is for the queue: if the workers' rate is bounded, thousands of cancels may wait in it.
CANCEL: ActivityOptions = {
    "priority": _FIRST,
    "start_to_close_timeout": timedelta(minutes=2),
    "schedule_to_close_timeout": timedelta(hours=1),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=24
    ),
}

# The results are landed, and the run waits for this: after five attempts it reports that the batch is still there.
DELETE: ActivityOptions = {
    "start_to_close_timeout": timedelta(hours=2),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": replace(_UNLIMITED, maximum_attempts=5),
}


# Reads the requests of all shards, and writes their manifests: the same plan at each attempt.
PLAN_WAVE: ActivityOptions = {
    "start_to_close_timeout": timedelta(hours=6),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": replace(_UNLIMITED, non_retryable_error_types=_FIXED_BEFORE_SENDING),
}

# A description of each run that is under way, and what the store has of the others.
READ_SHARDS: ActivityOptions = {
    "start_to_close_timeout": timedelta(minutes=10),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": _UNLIMITED,
}

# Those that give no answer are asked again at the next look.
STOP_SHARDS: ActivityOptions = {
    "start_to_close_timeout": timedelta(minutes=10),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": replace(_UNLIMITED, maximum_attempts=3),
}

# A description of each run of all waves, and a request to cancel those that are under way.
CANCEL_SHARDS: ActivityOptions = {**CANCEL, "start_to_close_timeout": timedelta(minutes=10)}

# Reads the results of all shards; idempotent: published once, under a name from what is merged.
MERGE: ActivityOptions = {
    "start_to_close_timeout": timedelta(hours=12),
    "heartbeat_timeout": _HEARTBEAT,
    "retry_policy": _UNLIMITED,
}


def first_deliveries(interval: timedelta) -> ActivityOptions:
    """Return the options of the first attempts to deliver an event: after a minute it is known that it does not go.

    An attempt ends by itself after 15 s.
    """
    return {
        "start_to_close_timeout": timedelta(seconds=30),
        "schedule_to_close_timeout": _DELIVERIES,
        "retry_policy": RetryPolicy(
            initial_interval=interval,
            backoff_coefficient=_DELIVERY_BACKOFF,
            maximum_interval=_MAX_DELIVERY_INTERVAL,
            maximum_attempts=_FIRST_DELIVERIES,
        ),
    }


def later_delivery_after(interval: timedelta) -> timedelta:
    """Return how long to wait after the first attempts."""
    factor: int = _DELIVERY_BACKOFF ** (_FIRST_DELIVERIES - 1)
    return min(interval * factor, _MAX_DELIVERY_INTERVAL)


def later_deliveries(interval: timedelta) -> ActivityOptions:
    """Return the options of the attempts after these, for a day."""
    return {
        **first_deliveries(interval),
        "retry_policy": RetryPolicy(
            initial_interval=later_delivery_after(interval) * _DELIVERY_BACKOFF,
            backoff_coefficient=_DELIVERY_BACKOFF,
            maximum_interval=_MAX_DELIVERY_INTERVAL,
        ),
    }


def submit(timeout: timedelta) -> ActivityOptions:
    """Return the options of the one attempt: the API has no idempotency key, a second one may pay for a second batch.

    The activity ends its POST at `timeout` by itself; Temporal's own limit comes after that. A lost worker is noticed
    by its heartbeats, sooner where the timeout is short.
    """
    return {
        "start_to_close_timeout": timeout + timedelta(seconds=30),
        "heartbeat_timeout": max(timedelta(seconds=3), min(_HEARTBEAT, timeout / 4)),
        "retry_policy": RetryPolicy(maximum_attempts=1),
    }


def poll(schedule: PollSchedule) -> ActivityOptions:
    """Return the document's retry for errors that pass by themselves; a `Retry-After` overrules its interval.

    A lost worker is noticed after 10 s, and its poll made by another one a second later. The interval of the first
    retry after an error is therefore asked for by the activity. It also says that a 404 is not retried: the workflow
    has a grace period of its own for it, and the history the options of each poll.
    """
    interval = schedule.transient.retry_after
    first = min(timedelta(seconds=1), interval)
    return {
        "start_to_close_timeout": _reply_within(schedule),
        "heartbeat_timeout": timedelta(seconds=10),
        "retry_policy": RetryPolicy(
            initial_interval=first,
            backoff_coefficient=interval / first,
            maximum_interval=interval,
            maximum_attempts=schedule.transient.retry_limit + 1,
        ),
    }


def find_anchor(schedule: PollSchedule) -> ActivityOptions:
    """Return the options of the call that a submission waits for, with the document's retry."""
    return {
        "start_to_close_timeout": _reply_within(schedule),
        "retry_policy": _document_retry(schedule.transient, not_retried=["BatchNotFound"]),
    }


def _reply_within(schedule: PollSchedule) -> timedelta:
    return min(max(schedule.retry_after, timedelta(seconds=10)), timedelta(minutes=1))


def retrieve(transient: RetrySchedule) -> ActivityOptions:
    """Return the options of a landing: hours, for a large batch on a slow line.

    The workflow itself counts incomplete results and 404s.
    """
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
