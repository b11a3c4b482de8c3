"""Starts a parent, prints what it returns: `ask.py [--by-name | --nexus ENDPOINT] [--cadence SECONDS] QUESTION...`."""

import argparse
import asyncio
import math
import sys
from uuid import uuid4

from parent import Answers, Questions, QuestionsOverNexus
from parent_worker import TASK_QUEUE
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from message_batches import TemporalUnreachable, connect, leave


async def main() -> int:
    """Ask, wait, print; return the exit status: 1 if the parent failed, 2 if it could not be started."""
    parser = argparse.ArgumentParser(description="Have questions answered by a message batch.")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--by-name", action="store_true", help="with the parent that knows the child by name only")
    way.add_argument("--nexus", metavar="ENDPOINT", help="with the parent that calls through this endpoint")
    parser.add_argument("--cadence", type=seconds, default=30, metavar="SECONDS", help="how often the batch is polled")
    options = parser.parse_args()

    asked = Questions(questions=options.questions, cadence=options.cadence)
    if options.nexus:
        asked = QuestionsOverNexus(**asked.model_dump(), endpoint=options.nexus)
    try:
        client = await connect()
        parent = await client.start_workflow(
            parent_of(options), asked, id=f"questions-{uuid4()}", task_queue=TASK_QUEUE, result_type=Answers
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


def parent_of(options: argparse.Namespace) -> str:
    """Return the type of the parent."""
    if options.nexus:
        return "answer-questions-over-nexus"
    return "answer-questions-by-name" if options.by_name else "answer-questions"


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
