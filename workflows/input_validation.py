"""A run's input: read, and what is wrong with it found before any activity repeats it."""

from pydantic import ValidationError
from pydantic_core import to_json
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from message_batches.api.keys import check_key_name
from message_batches.errors import UnknownKey
from workflows import activity_options
from workflows.failures import failure
from workflows.state import BatchRun

NOTHING = RawValue(Payload())
"""In the place of an input that was not given."""

_LONGEST_PROBLEM = 1000


def read_input(given: RawValue) -> BatchRun:
    """The input as far as it can be read: left to the SDK, one that cannot be would stall its run, not fail it."""
    try:
        read = workflow.payload_converter().from_payload(given.payload, BatchRun)
    except Exception as error:
        if workflow.info().continued_run_id:
            raise  # Not a caller's doing: an older worker's run, which waits for a version that can read it.
        return BatchRun.unusable(_said(error) if given.payload.metadata else "There is none.")
    if not isinstance(read, BatchRun):
        return BatchRun.unusable("It is no JSON.")
    if read.state and not workflow.info().continued_run_id:
        return BatchRun.unusable("state: what a run continues from is not a caller's to say.")
    return read


def _said(error: Exception) -> str:
    """What is wrong, without what was given, which may be a key or a prompt."""
    if not isinstance(error, ValidationError):
        return "It is no JSON."
    problems = (f"{'.'.join(map(str, each['loc'])) or 'input'}: {each['msg']}" for each in error.errors())
    return "; ".join(problems)[:_LONGEST_PROBLEM]


def check_input(request: BatchRun) -> None:
    """Raise the run's failure for an input that cannot be carried out; nothing is sent."""
    if request.problem:
        text = f"The input has not the form that README describes; nothing was sent. {request.problem}"
        raise failure("InvalidInput", text)
    try:
        check_key_name(request.api_key)
    except UnknownKey as error:
        raise failure("UnknownKey", str(error)) from None
    if request.state:
        return
    if request.requests is not None and request.requests_uri is not None:
        raise failure("InvalidRequests", "Give either requests or requestsUri, not both; nothing was sent")
    if request.requests is None and request.requests_uri is None and not request.batch_id:
        raise failure("InvalidRequests", "Give requests, requestsUri, or the batchId of a batch to attach to")
    if request.requests is not None and len(to_json(request.requests)) > activity_options.INLINE_LIMIT:
        raise failure(
            "InvalidRequests",
            f"Inline requests may be {activity_options.INLINE_LIMIT // 1024} KiB at most: put them into the store and "
            "pass requestsUri (`starter.py start FILE` does that); nothing was sent",
        )
