"""The options of a run, and its input built from them."""

from datetime import UTC, datetime, timedelta

from message_batches.api.models import ApiProfile
from message_batches.models import BatchInput, PollSchedule, SubmissionSchedule
from message_batches.runs.starter import StartOptions
from message_batches.runs.static_details import StaticDetails

SHOWN = StaticDetails("3 requests", "**3 requests**")


def test_the_defaults_are_those_of_the_input() -> None:
    given = StartOptions().input_of(BatchInput, SHOWN)

    assert given == BatchInput(static_summary=SHOWN.summary, static_details=SHOWN.details)


def test_every_option_reaches_the_input() -> None:
    options = StartOptions(
        profile=ApiProfile(api_key="team-a", anthropic_version="2026-10-21", anthropic_beta=("one",)),
        poll=PollSchedule(retry_after=timedelta(seconds=5), retry_limit=7),
        submission=SubmissionSchedule(timeout=timedelta(seconds=8)),
        delete_after_landing=True,
        deadline=datetime(2026, 11, 28, 6, tzinfo=UTC),
    )

    given = options.input_of(BatchInput, SHOWN, batch_id="msgbatch_1")

    assert given.profile == options.profile
    assert (given.poll, given.submission) == (options.poll, options.submission)
    assert given.delete_after_landing
    assert given.deadline == options.deadline
    assert given.batch_id == "msgbatch_1"
