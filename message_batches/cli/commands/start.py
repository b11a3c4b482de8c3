"""The commands that start a run: `start` and `attach`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

from temporalio.service import RPCError

from message_batches.cli import next_steps
from message_batches.cli.commands.start_options import OptionsReader
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.follow import (
    WaitOptions,
    follow_run,
    stored_result,
    waits,
)
from message_batches.cli.jobs.follow import follow_job
from message_batches.cli.json_output import DetachedRun
from message_batches.cli.live_progress import display
from message_batches.contract import NextAction
from message_batches.formatting import describe_estimate, format_duration, format_time, plural
from message_batches.job_models import ShardLimits
from message_batches.jobs.files import JobRequests, find_files, name_of_files, read_files
from message_batches.jobs.start import JobOptions, JobStart, has_plan, start_job
from message_batches.requests.past_runs import with_past_runs
from message_batches.requests.reader import CheckedRequests, name_of, read_requests
from message_batches.runs.control import Refused
from message_batches.runs.list import recent_durations
from message_batches.runs.start import attach_run, start_run
from message_batches.runs.starter import StartOptions, StartResult
from message_batches.temporal.task_queues import has_worker

_OUTLOOK_TIMEOUT = 5
"""Seconds that the durations of earlier runs are waited for."""


@dataclass(frozen=True)
class Asked:
    """A start as it was asked for, besides the options of its run.

    Attributes:
        files: their paths, or patterns of them.
        job: the options of a job, if it becomes one.
        retries: whether retries were asked for, which only a job has.
        again: submit the requests again, under the workflow id `again_id` if that is given.
    """

    files: Sequence[str]
    waiting: WaitOptions
    job: JobOptions
    retries: bool = False
    again: bool = False
    again_id: str | None = None


async def start(context: CommandContext, asked: Asked, read_options: OptionsReader) -> CommandResult:
    """Start a run for requests, or a job, or continue with what these requests have."""
    options = read_options(context.settings)
    paths = find_files(asked.files)
    with read_all(paths, options, asked.job.limits) as requests:
        _warn(context, requests)
        as_job = asked.retries or len(requests.shards) > 1
        if not as_job and not asked.again:
            as_job = await has_plan(context.store, requests, options)
        begin = partial(
            partial(start_job, job=asked.job) if as_job else start_run,
            await context.client(),
            context.store,
            requests,
            name_of_files(paths),
            options,
            again=asked.again,
            again_id=asked.again_id,
            on_again=lambda workflow_id: context.say(
                f"Submitting them again as {workflow_id}; should this command be interrupted, repeat it with "
                f"--workflow-id {workflow_id}"
            ),
        )
        # Meanwhile: it may take the store as long as all the rest.
        looking = asyncio.create_task(with_past_runs(requests, context.store, options.profile.api_key, options.prices))
        try:
            started = await _checked(context, begin, asked.waiting)
            if started.estimate:
                started = replace(started, estimate=await looking)
        finally:
            looking.cancel()
        if isinstance(started, JobStart) and not (started.joined or started.landed):
            context.say(f"A job: {plural(requests.count, 'request')} in {plural(len(requests.shards), 'shard')}")
    return await _follow(context, started, options, asked.waiting)


async def attach(
    context: CommandContext, batch_id: str, file: str | None, read_options: OptionsReader, waiting: WaitOptions
) -> CommandResult:
    """Take over a batch that exists; with its requests the results are fully checked."""
    options = read_options(context.settings)
    client = await context.client()
    begin = partial(attach_run, client, context.store, batch_id, options)
    if file:
        profile = options.profile
        with read_requests(
            file, version=profile.anthropic_version, betas=profile.anthropic_beta, scratch=options.scratch
        ) as requests:
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
    if not waits(context, waiting):
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


def read_all(
    paths: Sequence[str], options: StartOptions, limits: ShardLimits | None = None
) -> AbstractContextManager[JobRequests]:
    """Read and check files of requests for runs with these options, and estimate what they may cost."""
    profile = options.profile
    return read_files(
        paths,
        limits=limits,
        version=profile.anthropic_version,
        betas=profile.anthropic_beta,
        scratch=options.scratch,
        prices=options.prices,
    )


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


async def _follow(
    context: CommandContext, started: StartResult, options: StartOptions, waiting: WaitOptions
) -> CommandResult:
    """Report how the run started, then follow it to its end or leave it to itself."""
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
    if isinstance(started, JobStart) and (started.landed or waits(context, waiting)):
        return await follow_job(context, started.workflow_id, strict=waiting.strict)
    if waits(context, waiting):
        return await follow_run(context, await context.runs(), started.workflow_id, strict=waiting.strict)
    if not await has_worker(await context.client(), options.task_queue):
        context.say(next_steps.no_worker(options.task_queue), style="yellow")
    return CommandResult(
        DetachedRun(workflow_id=started.workflow_id, estimate=started.estimate),
        f"{started.workflow_id} is under way. To see it: {next_steps.watch(started.workflow_id)}",
    )
