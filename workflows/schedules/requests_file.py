"""The requests file of a run or a job: its address at the time of the run, waited for until it is in the store."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from activities.models import FindRequestsInput, FoundRequests
from activities.requests import RequestsActivities
from message_batches.formatting import SUMMARY_BYTES, format_duration, format_time, truncate_payload
from message_batches.temporal.search_attributes import SCHEDULED_TIME
from workflows import activity_options
from workflows.failures import deadline_passed, failure
from workflows.state import GivenInput

LONGEST_PAUSE = timedelta(minutes=30)
"""Between two looks for a file."""

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
    while True:
        found = await _look(request, uri)
        if found.found or wait is None:
            return found.requests_uri
        now, give_up = context.now, began + wait
        if now >= give_up:
            raise failure(
                "RequestsNotFound",
                f"{found.requests_uri} was waited for, and has not been put into the store within "
                f"{format_duration(wait)}; nothing was sent",
            )
        again = now + min(max(request.poll.retry_after, (now - began) / _SHARE), LONGEST_PAUSE)
        limits = (again, give_up, *([request.deadline] if request.deadline else ()))
        context.state.waiting_for = f"the file {found.requests_uri}, until {format_time(give_up)} UTC"
        context.publish_status()
        await context.wait_until(min(limits), truncate_payload(context.state.waiting_for, SUMMARY_BYTES))
        if context.deadline_passed:
            raise deadline_passed(request, sent_before=False)
        if ended := stopped():
            raise ended


async def _look(request: GivenInput, uri: str) -> FoundRequests:
    info = workflow.info()
    return await workflow.execute_activity_method(
        RequestsActivities.find_requests,
        FindRequestsInput(
            requests_uri=uri,
            time=info.typed_search_attributes.get(SCHEDULED_TIME) or info.start_time,
            zone=request.requests_uri_zone,
            store_id=request.store_id,
            first_run_id=info.first_execution_run_id,
        ),
        **activity_options.FIND_REQUESTS,
        summary="look for the requests file",
    )
