"""The worker of the parents: a process of its own, which needs the wheel, temporalio and pydantic."""

import asyncio
import signal

from parent import AnswerQuestions, AnswerQuestionsByName
from temporalio.worker import Worker

from message_batches.connection import connect, leave

TASK_QUEUE = "questions"


async def main() -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    # It brings the pydantic data converter: without it, models become plain dicts on their way.
    client = await connect()
    async with Worker(client, task_queue=TASK_QUEUE, workflows=[AnswerQuestions, AnswerQuestionsByName]):
        print(f"Worker ready: task queue {TASK_QUEUE}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
    leave(0)  # the usual end waits for the SDK's threads, and is aborted by them now and then
