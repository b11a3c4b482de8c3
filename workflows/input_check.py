"""What is wrong with an input, found before any activity repeats it."""

from pydantic_core import to_json

from message_batches.errors import UnknownKey
from message_batches.keys import check_key_name
from workflows import options
from workflows.failures import failure
from workflows.state import BatchRun


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
    if request.requests is not None and len(to_json(request.requests)) > options.INLINE_LIMIT:
        raise failure(
            "InvalidRequests",
            f"Inline requests may be {options.INLINE_LIMIT // 1024} KiB at most: put them into the store and pass "
            "requestsUri (`starter.py start FILE` does that); nothing was sent",
        )
