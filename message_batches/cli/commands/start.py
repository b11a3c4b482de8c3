"""The commands that start a run: `start` and `attach`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

from temporalio.service import RPCError

from message_batches.cli import next_steps
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.follow import WaitOptions, stored_result, waits
from message_batches.cli.jobs.follow import follow, last_view
from message_batches.cli.json_output import DetachedRun
from message_batches.cli.live_progress import display
from message_batches.formatting import describe_estimate, format_duration, format_time, plural
from message_batches.jobs.start import JobStart
from message_batches.library.batch_run import BatchRun
from message_batches.library.batch_runs import NotComparable
from message_batches.library.options import RunKeywords, StartKeywords, of_job, of_run
from message_batches.requests.reader import CheckedRequests
from message_batches.runs.control import Refused
from message_batches.runs.list import recent_durations
from message_batches.runs.starter import StartOptions
from message_batches.temporal.task_queues import has_worker

_OUTLOOK_TIMEOUT = 5
"""Seconds that the durations of earlier runs are waited for."""


@dataclass(frozen=True)
class Asked:
    """A start as it was asked for, besides the options of its run.

    Attributes:
        files: their paths, or patterns of them.
        again: submit the requests again, under the workflow id `again_id` if that is given.
    """

    files: Sequence[str]
    waiting: WaitOptions
    again: bool = False
    again_id: str | None = None


async def start(context: CommandContext, asked: Asked, options: StartKeywords) -> CommandResult:
    """Start a run for requests, or a job, or continue with what these requests have."""
    of_runs, job = of_run(context.settings, **options), of_job(**options)
    async with context.runs.read(asked.files, of_runs, job.limits) as requests:
        _warn(context, requests)
        begin = partial(
            context.runs.begin,
            requests,
            of_runs,
            job,
            retries=bool(options.get("retry_waves")),
            again=asked.again,
            again_id=asked.again_id,
            on_again=lambda workflow_id: context.say(
                f"Submitting them again as {workflow_id}; should this command be interrupted, repeat it with "
                f"--workflow-id {workflow_id}"
            ),
        )
        run = await _compared(context, begin, asked.waiting)
        if isinstance(run.started, JobStart) and not (run.started.joined or run.started.landed):
            context.say(f"A job: {plural(requests.count, 'request')} in {plural(len(requests.shards), 'shard')}")
    return await _follow(context, run, of_runs, asked.waiting)


async def attach(
    context: CommandContext, batch_id: str, file: str | None, options: RunKeywords, waiting: WaitOptions
) -> CommandResult:
    """Take over a batch that exists; with its requests the results are fully checked."""
    of_runs = of_run(context.settings, **options)
    take_over = partial(context.runs.take_over, batch_id, of_runs)
    if file:
        async with context.runs.read(file, of_runs, estimate=False) as requests:
            run = await _compared(context, partial(take_over, requests), waiting)
    else:
        run = await _begun(context, take_over)
    return await _follow(context, run, of_runs, waiting)


async def _begun(context: CommandContext, begin: Callable[[], Awaitable[BatchRun]]) -> BatchRun:
    """Begin, and say so where that has made a new store."""
    new = await context.store.known_identity() is None
    run = await begin()
    if new:
        context.say(f"A new store has been made at {context.store.uri('')}", style="yellow")
    return run


async def _compared(
    context: CommandContext, begin: Callable[[], Awaitable[BatchRun]], waiting: WaitOptions
) -> BatchRun:
    """Begin; a run that follows the batch without its requests is waited for, and then compared with these."""
    try:
        return await _begun(context, begin)
    except NotComparable as error:
        if not error.workflow_id or not waits(context, waiting):
            raise Refused(
                f"{error.note}, and so these cannot be compared before it has landed: wait for that here (--wait), or "
                "do the same again afterwards. Nothing was started",
                error.action,
                workflow_id=error.workflow_id,
            ) from None
        context.say(error.note, style="yellow")
        with display(context.err) as show:
            await last_view(context.runs.get(error.workflow_id), show)
    return await begin()


def _warn(context: CommandContext, requests: CheckedRequests) -> None:
    for warning in requests.warnings:
        context.say(next_steps.warning_text(warning), style="yellow")


async def _say_deadline(context: CommandContext, deadline: datetime) -> None:
    """Say when the batch is cancelled, and whether it is unlikely to have ended by then."""
    left = deadline - datetime.now(UTC)
    context.say(
        f"Deadline: {format_time(deadline)} UTC, in {format_duration(left)}. What has finished by then is landed, the "
        "rest cancelled"
    )
    with suppress(RPCError, TimeoutError):
        async with asyncio.timeout(_OUTLOOK_TIMEOUT):
            took = [each.total_seconds() for each in await recent_durations(await context.client())]
        longer = sum(each > left.total_seconds() for each in took)
        if 2 * longer > len(took):
            context.say(
                f"That is unlikely to be enough: {longer} of the last {plural(len(took), 'batch', 'batches')} took "
                f"longer than {format_duration(left)} (median {format_duration(timedelta(seconds=median(took)))})",
                style="yellow",
            )


async def _follow(context: CommandContext, run: BatchRun, options: StartOptions, waiting: WaitOptions) -> CommandResult:
    """Report how the run started, then follow it to its end or leave it to itself."""
    started = run.started
    assert started
    if started.note:
        context.say(started.note, style="yellow")
    if started.retry_later:
        later = next_steps.retry(started.workflow_id)
        context.say(f"Once it has landed, what has failed is sent again by `{later}`", style="yellow")
    if started.estimate:
        context.say(f"Estimated cost: {describe_estimate(started.estimate)}")
    if options.deadline and not (started.finished or started.joined):
        await _say_deadline(context, options.deadline)
    if finished := started.finished:
        return await stored_result(context, finished.workflow_id, finished.landed, strict=waiting.strict)
    if (isinstance(started, JobStart) and started.landed) or waits(context, waiting):
        return await follow(context, run, strict=waiting.strict)
    if not await has_worker(await context.client(), options.task_queue):
        context.say(next_steps.no_worker(options.task_queue), style="yellow")
    return CommandResult(
        DetachedRun(workflow_id=started.workflow_id, estimate=started.estimate),
        f"{started.workflow_id} is under way. To see it: {next_steps.watch(started.workflow_id)}",
    )
