"""The check of a run's input, before any activity could repeat what is wrong with it."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import PayloadConverter

from message_batches.api.keys import check_key_name, may_be_a_key
from message_batches.contract import NextAction
from message_batches.errors import UnknownKey
from message_batches.serialization import SEVERAL_ARGUMENTS
from workflows import activity_options
from workflows.failures import failure
from workflows.state import BatchRun, GivenInput

NOTHING = RawValue(Payload())
"""The placeholder for an input that was not given."""

_MAX_PROBLEM_LENGTH = 1000
_MAX_UNREAD = 20
_FIELD_NAME = re.compile(r"[A-Za-z_][\w-]{0,59}", re.ASCII)


_Input = TypeVar("_Input", bound=GivenInput)


def read_input(given: RawValue, model: type[_Input]) -> _Input:
    """Return the input of the current run, or a placeholder if it is not valid."""
    continued = workflow.info().continued_run_id is not None
    return parse_input(given.payload, workflow.payload_converter(), model, continued=continued)


def parse_input(
    payload: Payload, converter: PayloadConverter, model: type[_Input], *, continued: bool = False
) -> _Input:
    """Return the input, or a placeholder: left to the SDK, an unreadable one would stall its run, not fail it.

    Args:
        payload: of the start event.
        converter: reads it.
        model: the workflow's own.
        continued: whether the run continues another one, and so may carry its state.
    """
    if payload.metadata.get("encoding") == SEVERAL_ARGUMENTS:
        return model.unusable("there are several arguments, and it is one object")
    try:
        read = converter.from_payload(payload, model)
    except Exception as error:
        if continued:
            raise  # From an older worker, not from a caller: the run waits for a version that can read it.
        return model.unusable(_problem(error) if payload.metadata else "there is none")
    if not isinstance(read, model):
        return model.unusable("it is not JSON")
    if read.state and not continued:
        return model.unusable("state: only a run that continues as new may set it")
    return read if continued else read.with_unread(_counted(_unread_fields(model, from_json(payload.data))))


def _counted(fields: list[str]) -> tuple[str, ...]:
    """Return the first of many fields, and how many more there are."""
    more = len(fields) - _MAX_UNREAD
    return (*fields[:_MAX_UNREAD], *([f"and {more:,} more"] if more > 0 else []))


def _unread_fields(model: type[BaseModel], given: dict[str, Any], within: str = "") -> list[str]:
    """Return the fields of an input that no model has, at any level: a caller may have meant another name."""
    known = {name: field for name, field in model.model_fields.items() if field.alias not in given}
    known |= {field.alias: field for field in model.model_fields.values() if field.alias}
    found: list[str] = []
    for name, value in given.items():
        field = known.get(name)
        if field is None:
            # What is no name may be anything, such as a key.
            readable = _FIELD_NAME.fullmatch(name) and not may_be_a_key(name)
            found.append(within + (name if readable else "(a name that is not shown)"))
        elif isinstance(value, dict) and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _unread_fields(field.annotation, value, f"{within}{name}.")
    return found


def _problem(error: Exception) -> str:
    """Return what is wrong, without the input itself, which may hold a key or a prompt."""
    if not isinstance(error, ValidationError):
        return "it is not JSON"
    problems = (f"{'.'.join(map(str, each['loc'])) or 'input'}: {each['msg']}" for each in error.errors())
    return "; ".join(problems)[:_MAX_PROBLEM_LENGTH]


def check_input(request: BatchRun) -> None:
    """Raise the run's failure for an input that cannot be used; nothing is sent."""
    needed = "" if request.batch_id else "Give requests, requestsUri, or the batchId of a batch to attach to"
    check_requests(request, needed=needed)
    if request.batch_id and (request.requests_uri_zone is not None or request.wait_for_requests):
        raise failure("InvalidRequests", "requestsUriZone and waitForRequests go with requests that are to be sent")


def check_requests(request: GivenInput, *, needed: str) -> None:
    """Raise the failure for an input that cannot be read, or whose requests cannot be.

    Args:
        request: the input; that of a run which continues another one has no requests any more.
        needed: the sentence for an input without requests; empty where it needs none.
    """
    if request.problem:
        raise failure("InvalidInput", f"The input is not valid; nothing was sent: {request.problem}")
    try:
        check_key_name(request.api_key)
    except UnknownKey as error:
        raise failure("UnknownKey", str(error)) from None
    if request.state:
        return
    if request.requests is not None and request.requests_uri is not None:
        raise failure("InvalidRequests", "Give either requests or requestsUri, not both; nothing was sent")
    if request.requests is None and request.requests_uri is None and needed:
        raise failure("InvalidRequests", needed)
    if request.requests_uri is None and (request.requests_uri_zone is not None or request.wait_for_requests):
        raise failure("InvalidRequests", "requestsUriZone and waitForRequests go with requestsUri; nothing was sent")
    if request.requests is not None and len(to_json(request.requests)) > activity_options.INLINE_LIMIT:
        raise failure(
            "InvalidRequests",
            f"Inline requests may be {activity_options.INLINE_LIMIT // 1024} KiB at most: put them into the store and "
            "pass requestsUri; nothing was sent",
            action=NextAction.STORE_REQUESTS,
        )
