"""The commands for schedules: `schedule create`, `list`, `show`, `trigger`, `pause`, `resume` and `delete`."""

from dataclasses import dataclass
from datetime import timedelta

from message_batches.cli import next_steps
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.schedules.documents import (
    DeletedSchedule,
    FiredSchedule,
    ListedSchedule,
    ScheduleDocument,
    listed,
    next_time,
    shown,
)
from message_batches.formatting import describe_estimate
from message_batches.library.options import StartKeywords, of_job, of_run
from message_batches.schedules.control import delete_schedule, pause_schedule, resume_schedule, trigger_schedule
from message_batches.schedules.create import schedule_file, schedule_requests
from message_batches.schedules.describe import describe_schedule, list_schedules
from message_batches.schedules.models import ScheduleOptions, ScheduleView
from message_batches.temporal.task_queues import has_worker


@dataclass(frozen=True)
class Asked:
    """A schedule as it was asked for, besides the options of its runs.

    Attributes:
        files: their paths, or patterns of them; or `requests_uri`, and how long that is waited for.
    """

    name: str
    when: ScheduleOptions
    files: tuple[str, ...]
    requests_uri: str | None
    wait: timedelta | None


async def create(context: CommandContext, asked: Asked, keywords: StartKeywords) -> CommandResult:
    """Create a schedule, and show when it fires."""
    made = await (_of_file if asked.requests_uri else _of_requests)(context, asked, keywords)
    if not made.next_times:
        context.say("It will never fire: there is no such time", style="yellow")
    task_queue = of_run(context.settings, **keywords).task_queue
    if not await has_worker(await context.client(), task_queue):
        context.say(next_steps.no_worker(task_queue), style="yellow")
    return CommandResult(ScheduleDocument.of(made), shown(made, [next_steps.schedule("show", made.name)]))


async def _of_requests(context: CommandContext, asked: Asked, keywords: StartKeywords) -> ScheduleView:
    options, job = of_run(context.settings, **keywords), of_job(**keywords)
    async with context.runs.read(list(asked.files), options, job.limits) as requests:
        for warning in requests.warnings:
            context.say(next_steps.warning_text(warning), style="yellow")
        made = await schedule_requests(
            await context.client(),
            context.store,
            asked.name,
            requests,
            options,
            asked.when,
            job if keywords.get("retry_waves") or len(requests.shards) > 1 else None,
        )
        if requests.estimate:
            context.say(f"Estimated cost of each firing: {describe_estimate(requests.estimate)}")
    return made


async def _of_file(context: CommandContext, asked: Asked, keywords: StartKeywords) -> ScheduleView:
    options, job = of_run(context.settings, **keywords), of_job(**keywords)
    client, uri = await context.client(), asked.requests_uri or ""
    return await schedule_file(client, context.store, asked.name, uri, options, asked.when, job, wait=asked.wait)


async def list_all(context: CommandContext) -> CommandResult:
    """List the schedules."""
    found = await list_schedules(await context.client())
    none = f"No schedules yet: `{next_steps.schedule('create', 'NAME FILE --every 24h')}` creates one"
    return CommandResult([ListedSchedule.of(each) for each in found], listed(found) if found else none)


async def show(context: CommandContext, name: str) -> CommandResult:
    """Show a schedule."""
    view = await describe_schedule(await context.client(), name)
    return CommandResult(ScheduleDocument.of(view), shown(view))


async def trigger(context: CommandContext, name: str) -> CommandResult:
    """Fire a schedule now."""
    fired = await trigger_schedule(await context.client(), name)
    document = FiredSchedule(schedule=name, workflow_id=fired.workflow_id, after=fired.after)
    if fired.workflow_id:
        text = f"{fired.workflow_id} is under way. To see it: {next_steps.watch(fired.workflow_id)}"
    elif fired.after:
        text = f"A run is started once {fired.after} has ended"
    else:
        text = f"Fired; its run is not seen yet: {next_steps.schedule('show', name)}"
    return CommandResult(document, text)


async def pause(context: CommandContext, name: str, reason: str) -> CommandResult:
    """Pause a schedule."""
    view = await pause_schedule(await context.client(), name, reason)
    text = f"{name} is paused: `{next_steps.schedule('resume', name)}` lets it fire again"
    return CommandResult(ScheduleDocument.of(view), text)


async def resume(context: CommandContext, name: str) -> CommandResult:
    """Resume a schedule."""
    view = await resume_schedule(await context.client(), name)
    return CommandResult(ScheduleDocument.of(view), f"{name} fires again, next {next_time(view)}")


async def delete(context: CommandContext, name: str) -> CommandResult:
    """Delete a schedule."""
    await delete_schedule(await context.client(), name)
    return CommandResult(DeletedSchedule(schedule=name), f"{name} is deleted; the runs that it has started go on")
