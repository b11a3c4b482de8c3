"""Starts a parent and prints what it returns: `ask.py [--by-name] [--cadence SECONDS] QUESTION...`."""

import argparse
import asyncio
import sys
from uuid import uuid4

from parent import AnswerQuestions, AnswerQuestionsByName, Answers, Questions
from parent_worker import TASK_QUEUE
from temporalio.client import WorkflowFailureError

from message_batches.connection import connect, leave


async def main() -> None:
    """Ask, wait, print."""
    parser = argparse.ArgumentParser(description="Have questions answered by a message batch.")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--by-name", action="store_true", help="with the parent that knows the child by name only")
    parser.add_argument("--cadence", type=float, default=30, metavar="SECONDS", help="how often the batch is looked at")
    options = parser.parse_args()

    client = await connect()
    parent = await client.start_workflow(
        AnswerQuestionsByName.run if options.by_name else AnswerQuestions.run,
        Questions(questions=options.questions, cadence=options.cadence),
        id=f"questions-{uuid4()}",
        task_queue=TASK_QUEUE,
    )
    print(f"{parent.id} is under way; `temporal workflow cancel -w {parent.id}` stops its batch, too", file=sys.stderr)
    try:
        answers: Answers = await parent.result()
    except WorkflowFailureError as error:
        sys.exit(f"{parent.id} ended without answers: {error.cause}")
    print(answers.model_dump_json(indent=2, exclude_none=True))


if __name__ == "__main__":
    asyncio.run(main())
    leave(0)  # the usual end waits for the SDK's threads, and is aborted by them now and then
