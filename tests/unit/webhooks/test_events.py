"""The events: their names in an input, their size, and the ids of what delivers them."""

import json

import pytest
from pydantic import ValidationError

from message_batches.models import BatchInput
from message_batches.webhooks.delivery import MAX_BODY
from message_batches.webhooks.events import EventType, notification_id, notification_parts
from tests.unit.webhooks.events import RUN_ID, an_event, the_largest_event


def test_the_largest_event_is_small_enough_for_every_receiver() -> None:
    assert len(the_largest_event().body) < MAX_BODY


def test_a_body_has_only_what_applies() -> None:
    assert json.loads(an_event(EventType.BATCH_SUBMITTED, batch_id="msgbatch_1").body) == {
        "type": "batch.submitted",
        "timestamp": "2026-11-28T04:12:00Z",
        "data": {"namespace": "default", "workflowId": "run-1", "runId": RUN_ID, "batchId": "msgbatch_1"},
    }


@pytest.mark.parametrize("name", ["", "Ops", "a_b", "x" * 33, "https://hooks.example.com/secret", "ops\n"])
def test_an_address_in_the_place_of_a_name_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ValidationError, match="expected the name of a webhook") as caught:
        BatchInput(notify=(name,))

    assert "hooks.example.com" not in str(caught.value)


def test_no_more_than_ten_webhooks_are_told() -> None:
    with pytest.raises(ValidationError):
        BatchInput(notify=tuple(f"hook-{number}" for number in range(11)))


@pytest.mark.parametrize("bad", ["", "x" * 1001, "ü" * 501, "__temporal_x", "a\nb", "sk-ant-key"])
def test_a_signal_that_temporal_would_not_take_is_refused(bad: str) -> None:
    for target in ({"workflowId": bad, "signal": "done"}, {"workflowId": "w", "signal": bad}):
        with pytest.raises(ValidationError):
            BatchInput.model_validate({"notifySignal": target})


@pytest.mark.parametrize(
    ("key", "event"),
    [
        ("batch.landed", "batch.landed"),
        ("batch.undecided-2", "batch.undecided"),
        ("batch.needs_attention-landing-failing", "batch.needs_attention"),
    ],
)
def test_the_id_of_a_notification_names_its_event_and_its_webhook(key: str, event: str) -> None:
    assert notification_parts(notification_id(RUN_ID, key, "team-a")) == (event, "team-a")


def test_another_id_names_neither() -> None:
    assert notification_parts("batch-0123") is None
