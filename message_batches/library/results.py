"""A landed result, as a program reads it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from message_batches.concurrency import run_in_thread
from message_batches.jsonl import LONG_LINE
from message_batches.results.parser import decode_leniently, read_result
from message_batches.results.replies import text_of


@dataclass(frozen=True)
class BatchResult:
    """The result of one request.

    Attributes:
        custom_id: of the request.
        outcome: `succeeded`, `errored`, `canceled` or `expired`.
        message: the reply, as the API has sent it; None unless the request succeeded.
        error: `type` and `message` of the error, and what else the API says of it; None unless it is errored.
        line: all of it, byte for byte as it was received.

    Example:
        async for result in run.results():
            if result.message:
                print(result.custom_id, result.message["stop_reason"], result.text)
            else:
                print(result.custom_id, result.outcome, result.error)
    """

    custom_id: str
    outcome: str
    message: dict[str, Any] | None
    error: dict[str, Any] | None
    line: bytes

    @property
    def text(self) -> str:
        """The text of the reply, with its tool calls in words; empty without a reply.

        Example:
            texts = {result.custom_id: result.text async for result in run.results()}
        """
        return text_of(self.message)


async def read_line(line: bytes) -> BatchResult:
    """Read a result line, a long one in a thread; `ValueError` if it is not one."""
    if len(line) > LONG_LINE:
        result: BatchResult = await run_in_thread(partial(result_of, line))
        return result
    return result_of(line)


def result_of(line: bytes) -> BatchResult:
    """Read a result line; `ValueError` if it is not one."""
    read, decoded = read_result(line, landed=True), decode_leniently(line)["result"]
    outcome = decoded if isinstance(decoded, dict) else {}
    message, answer = outcome.get("message"), outcome.get("error")
    # The result's error is a complete error response, which holds the error itself.
    inner = answer.get("error") if isinstance(answer, dict) else None
    error = inner if isinstance(inner, dict) else answer
    return BatchResult(
        custom_id=read.custom_id,
        outcome=read.type,
        message=message if isinstance(message, dict) else None,
        error=error if isinstance(error, dict) else None,
        line=line,
    )
