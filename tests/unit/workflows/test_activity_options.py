"""The options of the activities: a lost worker is noticed soon, whatever it was doing."""

from datetime import timedelta

import pytest

from message_batches.models import PollSchedule, RetrySchedule
from workflows import activity_options
from workflows.activity_options import ActivityOptions

OPTIONS: dict[str, ActivityOptions] = {
    "prepare": activity_options.PREPARE,
    "record": activity_options.RECORD,
    "find candidates": activity_options.FIND_CANDIDATES,
    "duplicate check": activity_options.DUPLICATE_CHECK,
    "operator lookup": activity_options.OPERATOR_LOOKUP,
    "verify": activity_options.VERIFY,
    "cancel": activity_options.CANCEL,
    "delete": activity_options.DELETE,
    "submit": activity_options.submit(timedelta(minutes=10)),
    "poll": activity_options.poll(PollSchedule(retry_after=timedelta(hours=1))),
    "retrieve": activity_options.retrieve(RetrySchedule()),
}


@pytest.mark.parametrize("interval", [timedelta(milliseconds=10), timedelta(seconds=30), timedelta(days=7)])
def test_a_poll_of_a_lost_worker_is_repeated_within_seconds_and_a_refused_one_at_the_interval(
    interval: timedelta,
) -> None:
    policy = activity_options.poll(PollSchedule(transient=RetrySchedule(retry_after=interval)))["retry_policy"]

    assert policy.initial_interval <= timedelta(seconds=1)
    assert policy.initial_interval * policy.backoff_coefficient == policy.maximum_interval == interval
    assert policy.maximum_attempts == 481


@pytest.mark.parametrize("name", OPTIONS)
def test_a_lost_worker_is_noticed_within_a_minute(name: str) -> None:
    options = OPTIONS[name]

    noticed = options.get("heartbeat_timeout") or options["start_to_close_timeout"]

    assert noticed <= timedelta(minutes=1)
