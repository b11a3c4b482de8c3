"""Starts a parent and prints what it returns: `ask.py [--by-name] [--cadence SECONDS] QUESTION...`."""

import argparse
import asyncio
import math
import sys
from uuid import uuid4

from parent import AnswerQuestions, AnswerQuestionsByName, Answers, Questions
from parent_worker import TASK_QUEUE
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from message_batches import TemporalUnreachable, connect, leave


async def main() -> int:
    """Ask, wait, print; return the exit status: 1 if the parent failed, 2 if it could not be started."""
    parser = argparse.ArgumentParser(description="Have questions answered by a message batch.")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--by-name", action="store_true", help="with the parent that knows the child by name only")
    parser.add_argument("--cadence", type=seconds, default=30, metavar="SECONDS", help="how often the batch is polled")
    options = parser.parse_args()

    try:
        client = await connect()
        parent = await client.start_workflow(
            AnswerQuestionsByName.run if options.by_name else AnswerQuestions.run,
            Questions(questions=options.questions, cadence=options.cadence),
            id=f"questions-{uuid4()}",
            task_queue=TASK_QUEUE,
        )
    except (TemporalUnreachable, RPCError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{parent.id} is under way; `temporal workflow cancel -w {parent.id}` stops its batch, too", file=sys.stderr)
    try:
        answers: Answers = await parent.result()
    except WorkflowFailureError as error:
        print(f"{parent.id} ended without answers: {first_cause(error)}", file=sys.stderr)
        return 1
    print(answers.model_dump_json(indent=2, exclude_none=True))
    return 0


def seconds(text: str) -> float:
    """Return a number above 0; ValueError for anything else."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


def first_cause(error: BaseException) -> BaseException:
    """Return the first cause of a failure: the others are those of the workflows that it passed through."""
    return first_cause(error.__cause__) if error.__cause__ else error


if __name__ == "__main__":
    leave(asyncio.run(main()))
