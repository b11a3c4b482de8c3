"""The worker of the parents: a process of its own, which needs the wheel, temporalio and pydantic."""

import argparse
import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from parent import AnswerQuestions, AnswerQuestionsByName, AnswerQuestionsOverNexus
from results import AnswerFiles
from temporalio.worker import Worker

from message_batches import TemporalUnreachable, connect, leave

TASK_QUEUE = "questions"


async def main() -> int:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="Runs the parents.")
    parser.add_argument("--answers", type=Path, default="answers", metavar="FOLDER", help="where long answers go")
    options = parser.parse_args()

    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    try:
        # It sets the pydantic data converter: without it, models would arrive as plain dicts.
        client = await connect()
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[AnswerQuestions, AnswerQuestionsByName, AnswerQuestionsOverNexus],
            activities=[AnswerFiles(options.answers).write],
            activity_executor=ThreadPoolExecutor(4),
            max_concurrent_activities=4,
        ):
            print(f"Worker ready: task queue {TASK_QUEUE}", flush=True)
            await stop.wait()
    # RuntimeError is the SDK's, such as for a namespace that does not exist.
    except (TemporalUnreachable, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    leave(asyncio.run(main()))
