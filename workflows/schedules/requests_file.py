"""The requests file of a run or a job: its address at the time of the run, waited for until it is in the store."""

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from activities.models import FindRequestsInput, FoundRequests
from activities.requests import RequestsActivities
from message_batches.formatting import SUMMARY_BYTES, format_duration, format_time, truncate_payload
from message_batches.temporal.search_attributes import SCHEDULED_TIME
from workflows import activity_options
from workflows.failures import deadline_passed, failure
from workflows.state import GivenInput

_Result = TypeVar("_Result")

LONGEST_PAUSE = timedelta(minutes=30)
"""Between two looks for a file."""

_LEAST_LOOK = timedelta(seconds=5)
"""For the last look, or the only one."""

_SHARE = 20
"""A file is looked for again after this part of the time that it was waited for: in 7 days some 450 times, so that one
history can hold them."""


class WaitingState(Protocol):
    """The state that says what is waited for."""

    waiting_for: str | None


class WaitingContext(Protocol):
    """The context of a run, or of a job, as far as it is used here."""

    @property
    def request(self) -> GivenInput:
        """The input."""
        ...

    @property
    def state(self) -> WaitingState:
        """The state."""
        ...

    @property
    def now(self) -> datetime:
        """The workflow's time."""
        ...

    @property
    def deadline_passed(self) -> bool:
        """Whether the deadline of the input has come."""
        ...

    def publish_status(self) -> None:
        """Show the state."""
        ...

    async def wait_until(self, time: datetime, summary: str) -> None:
        """Wait until that time, or until woken."""
        ...

    async def unless(self, condition: Callable[[], bool], activity: Coroutine[Any, Any, _Result]) -> _Result | None:
        """Return the activity's result; None if the condition comes first."""
        ...


def is_looked_for(request: GivenInput) -> bool:
    """Return whether the file of an input has an address that is filled in, or is waited for."""
    return request.wait_for_requests is not None or request.requests_uri_zone is not None


def _goes_on() -> ApplicationError | None:
    return None


async def find_requests(
    context: WaitingContext, stopped: Callable[[], ApplicationError | None] = _goes_on
) -> str | None:
    """Return the address of the requests, filled in, once a file is there if the input says to wait for it.

    The failure where it does not come is `RequestsNotFound`; nothing is sent before.

    Args:
        context: of the run or the job.
        stopped: returns the failure with which it ends where it was stopped meanwhile.
    """
    request = context.request
    uri = request.requests_uri
    if uri is None or not is_looked_for(request):
        return uri
    try:
        return await _wait(context, uri, request.wait_for_requests, stopped)
    finally:
        context.state.waiting_for = None


async def _wait(
    context: WaitingContext, uri: str, wait: timedelta | None, stopped: Callable[[], ApplicationError | None]
) -> str:
    request, began = context.request, context.now
    give_up = began + wait if wait is not None else None
    limits = [time for time in (give_up, request.deadline) if time is not None]
    name = uri
    while True:
        left = min(limits) - context.now if limits else None
        found = await context.unless(lambda: stopped() is not None, _look(request, uri, left))
        _check_end(context, stopped)
        if found and (found.found or give_up is None):
            return found.requests_uri
        name, now = found.requests_uri if found else name, context.now
        if wait is not None and give_up is not None:
            if now >= give_up:
                raise _not_there(name, wait, looked=found is not None)
            context.state.waiting_for = f"the file {name}, until {format_time(give_up)} UTC"
        again = now + min(max(request.poll.retry_after, (now - began) / _SHARE), LONGEST_PAUSE)
        context.publish_status()
        summary = context.state.waiting_for or f"the store, which has not said whether {name} is there"
        await context.wait_until(min(again, *limits), truncate_payload(summary, SUMMARY_BYTES))
        _check_end(context, stopped)


def _check_end(context: WaitingContext, stopped: Callable[[], ApplicationError | None]) -> None:
    if context.deadline_passed:
        raise deadline_passed(context.request, sent_before=False)
    if ended := stopped():
        raise ended


def _not_there(uri: str, wait: timedelta, *, looked: bool) -> ApplicationError:
    what = "it has not been put into the store" if looked else "the store has not said whether it is there"
    return failure(
        "RequestsNotFound", f"{uri} was waited for, and {what} within {format_duration(wait)}; nothing was sent"
    )


async def _look(request: GivenInput, uri: str, left: timedelta | None) -> FoundRequests | None:
    """Look once; None where the store has not answered in the time that is left."""
    info, options = workflow.info(), activity_options.FIND_REQUESTS.copy()
    if left is not None:
        options["schedule_to_close_timeout"] = max(left, _LEAST_LOOK)
    try:
        return await workflow.execute_activity_method(
            RequestsActivities.find_requests,
            FindRequestsInput(
                requests_uri=uri,
                time=info.typed_search_attributes.get(SCHEDULED_TIME) or info.start_time,
                zone=request.requests_uri_zone,
                store_id=request.store_id,
                first_run_id=info.first_execution_run_id,
            ),
            **options,
            summary="look for the requests file",
        )
    except ActivityError as error:
        if error.retry_state is not RetryState.TIMEOUT:
            raise
        return None
