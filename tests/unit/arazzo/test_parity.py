"""Comparison of the document with the code: steps and activities, inputs and defaults, outputs."""

from datetime import timedelta

from temporalio import activity

from activities.batch import MessageBatchActivities
from message_batches.api.models import MessageBatch
from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import interface_of, plan_of
from message_batches.contract import WORKFLOW_TYPE
from message_batches.models import BatchInput, BatchOutput, PollSchedule
from tests.harness.project import DOCUMENT


def fields(model: type[BatchInput] | type[BatchOutput]) -> set[str]:
    """Return the JSON names of a model's fields."""
    return {info.alias or name for name, info in model.model_fields.items()}


def activity_name(method: object) -> str | None:
    """Return the activity type that a method is registered as."""
    definition = activity._Definition.from_callable(method)  # type: ignore[arg-type]
    return definition.name if definition else None


def test_the_workflow_is_named_as_in_the_document() -> None:
    plan = plan_of(load_document(DOCUMENT))

    assert plan.workflow_id == WORKFLOW_TYPE
    assert plan.deviations == ()


def test_the_steps_are_the_activity_types_in_order() -> None:
    steps = list(interface_of(load_document(DOCUMENT)).steps)

    assert steps == [
        activity_name(MessageBatchActivities.submit_batch),
        activity_name(MessageBatchActivities.poll_batch_status),
        activity_name(MessageBatchActivities.retrieve_results),
    ]


def test_the_inputs_and_their_defaults_are_those_of_a_run() -> None:
    inputs = interface_of(load_document(DOCUMENT)).inputs
    given = BatchInput()

    assert set(inputs) <= fields(BatchInput)
    assert inputs["anthropicVersion"].default == given.anthropic_version
    assert {name for name, declared in inputs.items() if declared.required} == {"apiKey", "requests"}


def test_the_cadence_is_the_default_of_a_run() -> None:
    plan = plan_of(load_document(DOCUMENT))

    assert plan.poll == PollSchedule() == BatchInput().poll
    assert (plan.poll.retry_after, plan.poll.retry_limit) == (timedelta(seconds=30), 2880)
    assert plan.poll.transient.retry_after * plan.poll.transient.retry_limit == timedelta(hours=4)


def test_the_workflows_outputs_are_outputs_of_a_run() -> None:
    interface = interface_of(load_document(DOCUMENT))

    assert set(interface.outputs) == {"batchId", "requestCounts", "resultsUrl", "results"}
    assert set(interface.outputs) <= fields(BatchOutput)


def test_the_steps_outputs_are_what_the_activities_return() -> None:
    steps = interface_of(load_document(DOCUMENT)).steps

    wire = {"batchId": "id", "processingStatus": "processing_status"}
    wire |= {"resultsUrl": "results_url", "requestCounts": "request_counts"}
    assert {wire[name] for name in steps["submitBatch"]} <= set(MessageBatch.model_fields)
    assert {wire[name] for name in steps["pollBatchStatus"]} <= set(MessageBatch.model_fields)
    assert set(steps["retrieveResults"]) == {"results"}
