"""The commands that begin a run: `start`, `attach`, `check`; and waiting for its end."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from pydantic import ValidationError
from rich.console import RenderableType

from message_batches.api.keys import DEFAULT_KEY, KEY_NAME
from message_batches.api.models import Account
from message_batches.cli import tables
from message_batches.cli.context import DONE, FAILED, Answer, Desk
from message_batches.cli.json_output import landed_document, requests_document, view_document
from message_batches.cli.live_progress import display, follow
from message_batches.cli.report import Reply, read_reply, report
from message_batches.cli.screen import called
from message_batches.errors import MessageBatchesError
from message_batches.models import BatchOutput, Landed, Manifest, PollSchedule, SubmissionSchedule
from message_batches.requests.manifest import write_manifest
from message_batches.requests.reader import Requests, read_requests
from message_batches.results import reader
from message_batches.runs.control import Refused, Runs
from message_batches.runs.describe import RunView
from message_batches.runs.failing_activities import has_worker
from message_batches.runs.start import MAX_INLINE_BYTES, Begun, Order
from message_batches.storage.object_store import ObjectStore

SHOWN_REPLIES = 8


@dataclass(frozen=True)
class Wishes:
    """What the command line says of a run; None where it says nothing."""

    document: Path | None = None
    poll_interval: timedelta | None = None
    poll_limit: int | None = None
    submission_timeout: timedelta | None = None
    quiet_period: timedelta | None = None
    key: str = DEFAULT_KEY
    version: str | None = None
    betas: Sequence[str] = ()
    task_queue: str | None = None
    delete_after_landing: bool = False


@dataclass(frozen=True)
class Waiting:
    """How to go on once a run has begun.

    Attributes:
        wait: until its end; None is yes at a terminal.
        strict: whether errored requests make the exit code 1.
    """

    wait: bool | None = None
    strict: bool = False


async def check(desk: Desk, file: str, wishes: Wishes) -> Answer:
    """Read and check a file of requests; nothing is sent."""
    account = order_of(wishes, "").account
    with read_requests(file, version=account.anthropic_version, scratch=desk.settings.scratch) as requests:
        name = "standard input" if file == "-" else file
        return Answer(requests_document(requests), tables.checked(requests, name))


async def start(desk: Desk, file: str, wishes: Wishes, waiting: Waiting, *, again: bool = False) -> Answer:
    """Start a run for a file of requests, or take up the one that these requests have."""
    order = order_of(wishes, desk.settings.task_queue)
    with read_requests(file, version=order.account.anthropic_version, scratch=desk.settings.scratch) as requests:
        for warning in requests.warnings:
            desk.say(str(warning), style="yellow")
        starter = await desk.starter()
        manifest = await put(desk.store, requests, desk.settings.scratch)
        order = order.saying(file, requests)
        begun = await starter.start(order, manifest, inline(requests), again=again)
    return await go_on(desk, begun, order, waiting)


async def attach(desk: Desk, batch_id: str, file: str | None, wishes: Wishes, waiting: Waiting) -> Answer:
    """Take over a batch that exists; with its requests the results are fully checked."""
    order = order_of(wishes, desk.settings.task_queue)
    starter = await desk.starter()
    manifest: Manifest | None = None
    if file:
        with read_requests(file, version=order.account.anthropic_version, scratch=desk.settings.scratch) as requests:
            manifest = await put(desk.store, requests, desk.settings.scratch)
            order = order.saying(file, requests)
    return await go_on(desk, await starter.attach(batch_id, order, manifest), order, waiting)


async def put(store: ObjectStore, requests: Requests, scratch: Path | None = None) -> Manifest:
    """The requests in the store, as their file has them: what a run was started with can be read there."""
    return await write_manifest(store, requests.chunks(), scratch=scratch)


def inline(requests: Requests) -> list[object] | None:
    """The requests as part of the run's input, if they are small."""
    if requests.body_bytes > MAX_INLINE_BYTES:
        return None
    try:
        return requests.items()
    except msgspec.MsgspecError:
        # Such as a number beyond all bounds: the API shall say so, it gets the bytes as they are.
        return None


def order_of(wishes: Wishes, task_queue: str) -> Order:
    """The run's input: the document's numbers, and what the command line says instead."""
    if not KEY_NAME.fullmatch(wishes.key):
        raise Refused(
            "--key takes the name of a key that the worker holds (lower-case letters, digits, '-', at most 32), never "
            "a key. Nothing was sent; but if that was a key, your shell's history has it now: rotate it"
        )
    version, poll = _cadence(wishes.document)
    if wishes.poll_interval:
        poll = poll.model_copy(update={"retry_after": wishes.poll_interval})
    if wishes.poll_limit is not None:
        poll = poll.model_copy(update={"retry_limit": wishes.poll_limit})
    submission = SubmissionSchedule()
    if wishes.submission_timeout:
        submission = submission.model_copy(update={"timeout": wishes.submission_timeout})
    if wishes.quiet_period:
        submission = submission.model_copy(update={"quiet_period": wishes.quiet_period})
    try:
        account = Account(
            api_key=wishes.key, anthropic_version=wishes.version or version, anthropic_beta=tuple(wishes.betas)
        )
    except ValidationError as error:
        wrong = error.errors()[0]
        option = "--beta" if wrong["loc"][0] == "anthropic_beta" else "--anthropic-version"
        raise Refused(
            f"{option} cannot be used: {wrong['msg'].removeprefix('Value error, ')}. Nothing was sent"
        ) from None
    return Order(
        account,
        poll,
        submission,
        wishes.task_queue or task_queue,
        delete_after_landing=wishes.delete_after_landing,
    )


async def go_on(desk: Desk, begun: Begun, order: Order, waiting: Waiting) -> Answer:
    """Say how it began, then wait for its end or leave it to itself."""
    if begun.note:
        desk.say(begun.note, style="yellow")
    if begun.finished:
        finished = begun.finished
        place = Place(desk.store, f"{called()} results {finished.workflow_id}")
        document = landed_document(finished.landed, workflow_id=finished.workflow_id)
        shown = await ending(desk, finished.landed, place)
        return Answer(document, shown, _exit_code(finished.landed, strict=waiting.strict))
    wait = desk.out.is_terminal if waiting.wait is None else waiting.wait
    if not wait:
        return await _left(desk, begun, order)
    return await wait_for(desk, await desk.runs(), begun.workflow_id, strict=waiting.strict)


async def wait_for(desk: Desk, runs: Runs, workflow_id: str, *, strict: bool = False) -> Answer:
    """Follow a run to its end and report it; Ctrl-C leaves it to itself."""
    try:
        with display(desk.err) as show:
            view = await follow(runs, workflow_id, show)
    except asyncio.CancelledError:
        desk.say(f"The run goes on. To come back: {called()} watch {workflow_id}")
        return Answer({"workflowId": workflow_id, "status": "running", "detached": True})
    return await end_of(desk, view, strict=strict)


@dataclass(frozen=True)
class Place:
    """Where a run's results are, and how a person gets at them.

    Attributes:
        results: the command line that shows them.
        link: the run's page in the Web UI, where that is known.
    """

    store: ObjectStore
    results: str
    link: str | None = None


async def end_of(desk: Desk, view: RunView, *, strict: bool = False, place: Place | None = None) -> Answer:
    """How a run ended."""
    document = view_document(view)
    if not view.output:
        return Answer(document, tables.run_rows(view, datetime.now(UTC)), FAILED)
    place = place or Place(desk.store, f"{called()} results {view.workflow_id}")
    return Answer(document, await ending(desk, view.output, place), _exit_code(view.output, strict=strict))


async def ending(desk: Desk, landed: Landed | BatchOutput, place: Place) -> RenderableType:
    """The report of landed results, the first of them in words."""
    replies: list[Reply] = []
    try:
        lines = await reader.first_lines(place.store, landed.results_file.uri, SHOWN_REPLIES)
        replies = [read_reply(line) for line in lines]
    except (MessageBatchesError, ValueError) as error:
        desk.say(f"The results cannot be shown: {error}", style="yellow")
    return report(landed, replies, command=place.results, link=place.link)


async def _left(desk: Desk, begun: Begun, order: Order) -> Answer:
    """A run that goes on by itself."""
    client = await desk.client()
    if not await has_worker(client, order.task_queue):
        desk.say(tables.no_worker(order.task_queue), style="yellow")
    return Answer(
        {"workflowId": begun.workflow_id, "status": "running", "detached": True},
        f"{begun.workflow_id} is under way. To see it: {called()} watch {begun.workflow_id}",
    )


def _cadence(document: Path | None) -> tuple[str, PollSchedule]:
    from message_batches.arazzo.loader import load_document
    from message_batches.arazzo.plan import plan_of

    if document is None:
        return Account().anthropic_version, PollSchedule()
    plan = plan_of(load_document(document))
    return plan.anthropic_version, plan.poll


def _exit_code(landed: Landed | BatchOutput, *, strict: bool) -> int:
    counts = landed.summary.counts
    return FAILED if strict and (counts.errored or counts.expired or counts.canceled) else DONE
