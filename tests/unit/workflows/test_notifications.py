"""The events that the states of runs and jobs show."""

from datetime import UTC, datetime

import pytest
from temporalio.exceptions import ApplicationError

from activities.models import CandidateMatch
from message_batches.contract import NextAction
from message_batches.job_models import JobPhase, JobWave
from message_batches.models import Candidate, FailureDetails, Phase
from message_batches.temporal.search_attributes import NEEDS_ATTENTION, BatchStatus
from message_batches.webhooks.events import MAX_IDS, EventData, EventType
from workflows.jobs.state import JobState
from workflows.notifications.contents import job_end, job_events, run_end, run_events
from workflows.state import RunState

NOW = datetime(2026, 11, 28, tzinfo=UTC)
WHOSE = {"namespace": "default", "workflow_id": "run", "run_id": "first"}


def a_run(phase: Phase, batch_id: str | None = "msgbatch_1") -> RunState:
    state = RunState(phase=phase)
    state.submission.batch_id = batch_id
    return state


@pytest.mark.parametrize("status", [each for each in NEEDS_ATTENTION if each not in ("undecided", "paused")])
def test_each_status_that_needs_attention_is_an_event_of_its_own(status: BatchStatus) -> None:
    _, due = run_events(a_run(Phase.POLLING), status, attached=False)

    assert (due.type, due.key) == (EventType.BATCH_NEEDS_ATTENTION, f"batch.needs_attention-{status}")
    assert EventData(**WHOSE, **due.data).reason == status


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.SUBMITTING])
def test_before_there_is_a_batch_there_is_no_event(phase: Phase) -> None:
    assert not [*run_events(a_run(phase, None), None, attached=False)]


def test_each_lost_reply_is_an_event_of_its_own_with_some_of_the_candidates() -> None:
    state = a_run(Phase.UNDECIDED, None)
    state.submission.posted = 2
    seen = [Candidate(batch_id=f"msgbatch_{number}", created_at=NOW, processing_status="ended") for number in range(50)]
    state.submission.candidates.matches = {each.batch_id: CandidateMatch(candidate=each) for each in seen}
    (due,) = run_events(state, BatchStatus.UNDECIDED, attached=False)

    assert due.key == "batch.undecided-2"
    assert len(EventData(**WHOSE, **due.data).candidates or ()) == MAX_IDS


def test_a_failure_gives_its_next_step_and_not_its_message() -> None:
    state = a_run(Phase.FAILED).model_copy(update={"outcome": "SubmissionUnknown"})
    details = FailureDetails(action=NextAction.CHECK_BATCHES, candidates=("msgbatch_2",))
    due = run_end(state, ApplicationError("the words of others", details, type="SubmissionUnknown"))

    assert due.type is EventType.BATCH_FAILED
    said = EventData(**WHOSE, **due.data)
    assert (said.outcome, said.action, said.candidates) == ("SubmissionUnknown", "checkBatches", ("msgbatch_2",))
    assert "words" not in said.model_dump_json()


def test_a_job_tells_that_it_is_submitted_once_its_shards_start_and_each_pause() -> None:
    state = JobState(phase=JobPhase.PLANNING, waves=[JobWave(number=0, shards=3, sent=5)], requests=5)
    assert not [*job_events(state, NOW)]
    paused = state.model_copy(update={"phase": JobPhase.PAUSED, "paused": "why", "paused_since": NOW})

    submitted, attention = job_events(paused, NOW)

    assert (submitted.key, submitted.data["shards"]) == ("job.submitted", 3)
    assert attention.key == f"job.needs_attention-{int(NOW.timestamp() * 1000)}"
    assert job_end(state.model_copy(update={"phase": JobPhase.CANCELED}), ValueError()).type is EventType.JOB_CANCELED
