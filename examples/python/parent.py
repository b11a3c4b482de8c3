"""Three parents that have a message batch processed: two by a child, typed or by name with JSON, and one over Nexus."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError, NexusOperationError
from temporalio.workflow import ChildWorkflowCancellationType, NexusOperationCancellationType, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from results import AnswerFiles, outcome

    from message_batches import DEFAULT_TASK_QUEUE, WORKFLOW_TYPE, BatchInput, BatchOutput, PollSchedule
    from message_batches.nexus import MessageBatches


class Questions(BaseModel):
    """The input of a parent; each question is a request of one batch, which is polled every `cadence` seconds."""

    questions: list[str]
    model: str = "claude-haiku-5-5"
    cadence: float = 30

    def requests(self) -> list[dict[str, Any]]:
        """Return the questions as requests of the API, for the workflow that sends them."""
        # Ids that no other program on the same key has: batches are told apart by them.
        sender = workflow.uuid4().hex[:12]
        return [
            {
                "custom_id": f"{sender}-question-{number}",
                "params": {
                    "model": self.model,
                    "max_tokens": 1024,
                    "messages": [{"role": "user", "content": question}],
                },
            }
            for number, question in enumerate(self.questions)
        ]

    def batch(self) -> BatchInput:
        """Return the input of the batch."""
        return BatchInput(requests=self.requests(), poll=PollSchedule(retry_after=timedelta(seconds=self.cadence)))


class QuestionsOverNexus(Questions):
    """The input of a parent that calls through an endpoint."""

    endpoint: str


class Answers(BaseModel):
    """The output of a parent.

    Attributes:
        report: the outcome, in a sentence.
        answers: the answers by custom_id.
        unanswered: the reason for a missing answer, by custom_id.
        file: the file that has both instead, a JSON line each, if they are too large for a payload.
    """

    report: str
    answers: dict[str, str] = {}
    unanswered: dict[str, str] = {}
    file: str | None = None


@workflow.defn(name="answer-questions")
class AnswerQuestions:
    """A parent that has questions answered, with the library's models."""

    @workflow.run
    async def run(self, asked: Questions) -> Answers:
        """Start the batch, wait for it, compose the answers."""
        try:
            output = await workflow.execute_child_workflow(
                WORKFLOW_TYPE,
                asked.batch(),
                result_type=BatchOutput,
                id=f"{workflow.info().workflow_id}-batch",
                task_queue=DEFAULT_TASK_QUEUE,
                # By default the server would terminate the child with its parent; the batch would still be charged.
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                # A parent that is cancelled ends when the batch has been stopped, not before.
                cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                # A parent that is run again under its id must not pay for the batch again: it fails instead.
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )
        except ChildWorkflowError as error:
            return refused(error)
        return await answers_in(output)


@workflow.defn(name="answer-questions-over-nexus")
class AnswerQuestionsOverNexus:
    """A parent in another namespace, which has questions answered through an endpoint that leads to the worker."""

    @workflow.run
    async def run(self, asked: QuestionsOverNexus) -> Answers:
        """Call the operation, wait for it, compose the answers."""
        batches = workflow.create_nexus_client(service=MessageBatches, endpoint=asked.endpoint)
        try:
            output = await batches.execute_operation(
                MessageBatches.batch,
                asked.batch(),
                # A parent that is cancelled ends when its batch has been stopped; one that is terminated leaves it.
                cancellation_type=NexusOperationCancellationType.WAIT_COMPLETED,
            )
        except NexusOperationError as error:
            return refused(error)
        return await answers_in(output)


@workflow.defn(name="answer-questions-by-name")
class AnswerQuestionsByName:
    """A parent that has questions answered, knowing only the child's name, its queue and its JSON."""

    @workflow.run
    async def run(self, asked: Questions) -> Answers:
        """Start the batch, wait for it, compose the answers."""
        output: dict[str, Any] = await workflow.execute_child_workflow(
            "batch-process-and-retrieve-results",
            {"requests": asked.requests(), "poll": {"retryAfter": asked.cadence}},
            id=f"{workflow.info().workflow_id}-batch",
            task_queue="message-batches",
            parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
            cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
        tokens = sum(used["output"] for used in output["summary"]["usage"])
        report = f"{output['requestCounts']['succeeded']} of {len(asked.questions)} answered in {tokens} tokens"
        if output["results"] is None:
            return await write_answers(f"{report}; {output['resultsOmitted']}", output["resultsFile"]["uri"])
        return compose(report, output["results"])


def refused(error: ChildWorkflowError | NexusOperationError) -> Answers:
    """Report that nothing was sent; another failure, or the cancellation, is not for a workflow to handle."""
    match error.cause:
        case ApplicationError(type="InvalidRequests") as cause:
            return Answers(report=f"Nothing was sent. {cause.message}")
        case _:
            raise error


async def answers_in(output: BatchOutput) -> Answers:
    """Return the answers in the results, wherever these are."""
    tokens = sum(used.output for used in output.summary.usage)
    report = f"{output.request_counts.succeeded} of {output.results_file.lines} answered in {tokens} tokens"
    if output.results is None:
        return await write_answers(f"{report}; {output.results_omitted}", output.results_file.uri)
    return compose(report, output.results)


def compose(report: str, results: Iterable[dict[str, Any]]) -> Answers:
    """Return the answers in the result lines, and why some are missing."""
    outcomes = [(line["custom_id"], *outcome(line)) for line in results]
    return Answers(
        report=report,
        answers={custom_id: text for custom_id, kind, text in outcomes if kind == "answer"},
        unanswered={custom_id: text for custom_id, kind, text in outcomes if kind == "unanswered"},
    )


async def write_answers(report: str, results_uri: str) -> Answers:
    """Have an activity read results that are too large for a payload."""
    file = await workflow.execute_activity_method(
        AnswerFiles.write,
        results_uri,
        start_to_close_timeout=timedelta(minutes=10),
        retry_policy=RetryPolicy(maximum_attempts=3),
    )
    return Answers(report=report, file=file)
