"""The commands that start a run: `start` and `attach`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from message_batches.api.keys import DEFAULT_KEY, KEY_NAME
from message_batches.api.models import ApiProfile
from message_batches.cli import next_steps
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.follow import (
    WaitOptions,
    follow_run,
    stored_result,
)
from message_batches.cli.json_output import DetachedRun
from message_batches.cli.live_progress import display
from message_batches.contract import NextAction
from message_batches.formatting import describe_estimate
from message_batches.models import PollSchedule, SubmissionSchedule
from message_batches.requests.past_runs import with_past_runs
from message_batches.requests.reader import CheckedRequests, read_requests
from message_batches.runs.control import Refused
from message_batches.runs.start import attach_run, start_run
from message_batches.runs.starter import StartOptions, StartResult
from message_batches.settings import Settings
from message_batches.temporal.task_queues import has_worker

OptionsReader = Callable[[Settings], StartOptions]


async def start(
    context: CommandContext,
    file: str,
    read_options: OptionsReader,
    waiting: WaitOptions,
    *,
    again: bool = False,
    again_id: str | None = None,
) -> CommandResult:
    """Start a run for a file of requests, or continue with the run that these requests have."""
    options = read_options(context.settings)
    with read(file, options) as requests:
        _warn(context, requests)
        begin = partial(
            start_run,
            await context.client(),
            context.store,
            requests,
            name_of(file),
            options,
            again=again,
            again_id=again_id,
            on_again=lambda workflow_id: context.say(
                f"Submitting them again as {workflow_id}; should this command be interrupted, repeat it with "
                f"--workflow-id {workflow_id}"
            ),
        )
        # Meanwhile: it may take the store as long as all the rest.
        looking = asyncio.create_task(with_past_runs(requests, context.store, options.profile.api_key, options.prices))
        try:
            started = await _checked(context, begin, waiting)
            if started.estimate:
                started = replace(started, estimate=await looking)
        finally:
            looking.cancel()
    return await _follow(context, started, options, waiting)


async def attach(
    context: CommandContext, batch_id: str, file: str | None, read_options: OptionsReader, waiting: WaitOptions
) -> CommandResult:
    """Take over a batch that exists; with its requests the results are fully checked."""
    options = read_options(context.settings)
    client = await context.client()
    begin = partial(attach_run, client, context.store, batch_id, options)
    if file:
        with read(file, options, estimate=False) as requests:
            started = await _checked(context, partial(begin, requests, name_of(file)), waiting)
    else:
        started = await _begun(context, begin)
    return await _follow(context, started, options, waiting)


async def _begun(context: CommandContext, begin: Callable[[], Awaitable[StartResult]]) -> StartResult:
    """Begin, and say so where that has made a new store."""
    new = await context.store.known_identity() is None
    started = await begin()
    if new:
        context.say(f"A new store has been made at {context.store.uri('')}", style="yellow")
    return started


async def _checked(
    context: CommandContext, begin: Callable[[], Awaitable[StartResult]], waiting: WaitOptions
) -> StartResult:
    """Begin; a run that follows the batch without its requests is waited for, and then compared with these."""
    started = await _begun(context, begin)
    if not started.unchecked:
        return started
    if not _waits(context, waiting):
        raise Refused(
            f"{started.note}, and so these cannot be compared before it has landed: wait for that here (--wait), or do "
            "the same again afterwards. Nothing was started",
            NextAction.WATCH,
            workflow_id=started.workflow_id,
        )
    context.say(started.note, style="yellow")
    with display(context.err) as show:
        await (await context.runs()).follow(started.workflow_id, show)
    return await begin()


def start_options(
    settings: Settings,
    *,
    document: Path | None = None,
    poll_interval: timedelta | None = None,
    poll_limit: int | None = None,
    submission_timeout: timedelta | None = None,
    quiet_period: timedelta | None = None,
    key: str = DEFAULT_KEY,
    version: str | None = None,
    betas: Sequence[str] = (),
    task_queue: str | None = None,
    delete_after_landing: bool = False,
    max_cost: Decimal | None = None,
) -> StartOptions:
    """Combine the document's cadence, the settings, and the options of the command line, which go first."""
    if not KEY_NAME.fullmatch(key):
        raise Refused(
            "--key takes the name of a key that the worker holds (lower-case letters, digits, '-', at most 32), never "
            "a key. Nothing was sent; but if that was a key, your shell's history has it now: rotate it"
        )
    default_version, poll = _cadence(document)
    if poll_interval:
        poll = poll.model_copy(update={"retry_after": poll_interval})
    if poll_limit is not None:
        poll = poll.model_copy(update={"retry_limit": poll_limit})
    submission = SubmissionSchedule()
    if submission_timeout:
        submission = submission.model_copy(update={"timeout": submission_timeout})
    if quiet_period:
        submission = submission.model_copy(update={"quiet_period": quiet_period})
    return StartOptions(
        profile=_profile(key, version or default_version, betas),
        poll=poll,
        submission=submission,
        task_queue=task_queue or settings.task_queue,
        delete_after_landing=delete_after_landing,
        scratch=settings.scratch,
        max_cost=max_cost,
        prices=settings.prices,
    )


def _profile(key: str, version: str, betas: Sequence[str]) -> ApiProfile:
    try:
        return ApiProfile(api_key=key, anthropic_version=version, anthropic_beta=tuple(betas))
    except ValidationError as error:
        wrong = error.errors()[0]
        option = "--beta" if wrong["loc"][0] == "anthropic_beta" else "--anthropic-version"
        reason = wrong["msg"].removeprefix("Value error, ")
        if any("," in beta for beta in betas) and option == "--beta":
            reason = "it takes one beta: give --beta once for each"
        raise Refused(f"{option} cannot be used: {reason}. Nothing was sent") from None


def _cadence(document: Path | None) -> tuple[str, PollSchedule]:
    from message_batches.arazzo.loader import load_document
    from message_batches.arazzo.plan import plan_of

    if document is None:
        return ApiProfile().anthropic_version, PollSchedule()
    plan = plan_of(load_document(document))
    return plan.anthropic_version, plan.poll


def read(file: str, options: StartOptions, *, estimate: bool = True) -> AbstractContextManager[CheckedRequests]:
    """Read and check a file of requests for a run with these options, and estimate what they may cost."""
    profile = options.profile
    return read_requests(
        file,
        version=profile.anthropic_version,
        betas=profile.anthropic_beta,
        scratch=options.scratch,
        prices=options.prices if estimate else None,
    )


def name_of(file: str) -> str:
    """Return what a file is called in output."""
    return "standard input" if file == "-" else file


def _warn(context: CommandContext, requests: CheckedRequests) -> None:
    for warning in requests.warnings:
        context.say(next_steps.warning_text(warning), style="yellow")


def _waits(context: CommandContext, waiting: WaitOptions) -> bool:
    return context.out.is_terminal if waiting.wait is None else waiting.wait


async def _follow(
    context: CommandContext, started: StartResult, options: StartOptions, waiting: WaitOptions
) -> CommandResult:
    """Report how the run started, then follow it to its end or leave it to itself."""
    if started.note:
        context.say(started.note, style="yellow")
    if started.estimate:
        context.say(f"Estimated cost: {describe_estimate(started.estimate)}")
    if finished := started.finished:
        return await stored_result(context, finished.workflow_id, finished.landed, strict=waiting.strict)
    if _waits(context, waiting):
        return await follow_run(context, await context.runs(), started.workflow_id, strict=waiting.strict)
    if not await has_worker(await context.client(), options.task_queue):
        context.say(next_steps.no_worker(options.task_queue), style="yellow")
    return CommandResult(
        DetachedRun(workflow_id=started.workflow_id, estimate=started.estimate),
        f"{started.workflow_id} is under way. To see it: {next_steps.watch(started.workflow_id)}",
    )
