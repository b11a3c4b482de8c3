"""The command `list`: the newest runs, or those that need attention."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text
from temporalio.client import Client

from message_batches.cli import next_steps, tables
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.jobs import tables as job_tables
from message_batches.cli.json_output import AttentionDocument, ListedRunDocument
from message_batches.cli.options import MAX_LIMIT
from message_batches.contract import WORKFLOW_TYPE
from message_batches.errors import StoreUnavailable
from message_batches.formatting import format_duration, format_time, plural
from message_batches.jobs.attention import JobAttention, list_job_attention
from message_batches.runs import attention
from message_batches.runs import list as runs_list
from message_batches.runs.attention import AttentionItem
from message_batches.runs.forgotten import ForgottenSubmission, list_forgotten
from message_batches.storage.interface import Store


async def list_runs(context: CommandContext, limit: int, statuses: Sequence[str]) -> CommandResult:
    """List the newest runs; those of these statuses, if any are named."""
    client, store = await context.client(), context.store
    found, problem = await asyncio.gather(runs_list.list_runs(client, store, limit, statuses), _store_problem(store))
    if problem:
        context.say(f"The list is Temporal's alone: {problem}", style="yellow")
    if found:
        shown: RenderableType = tables.listed(found)
    elif statuses:
        shown = f"No run is {' or '.join(statuses)}"
    else:
        shown = f"No runs yet: `{next_steps.called()} start FILE` starts one"
    return CommandResult([ListedRunDocument.of(run) for run in found], shown)


async def _store_problem(store: Store) -> StoreUnavailable | None:
    try:
        await store.known_identity()
    except StoreUnavailable as error:
        return error
    return None


async def list_attention(context: CommandContext, limit: int) -> CommandResult:
    """List jobs and runs that an operator should look at, and submissions that no run follows: `limit` of each."""
    now, client = datetime.now(UTC), await context.client()
    jobs = await list_job_attention(client, context.store)
    runs = [job_document(item, now) for item in jobs.found]
    runs += [attention_document(item, now) for item in await attention.list_attention(client)]
    unseen_runs = await attention.count_unseen(client, attention.open_query(WORKFLOW_TYPE), attention.MAX_LOOKED_AT)
    for unseen, what in ((jobs.unseen, "job"), (unseen_runs, "run")):
        if unseen:
            context.say(
                f"Not looked at: {plural(unseen, f'older {what}')}, but for those whose status says that they need it. "
                f"`{next_steps.called()} status ID` shows one",
                style="yellow",
            )
    forgotten = await _forgotten(context, client)
    hidden = [
        f"{len(found) - limit:,} more {what}"
        for found, what in ((runs, "that need attention"), (forgotten, "that no run follows"))
        if len(found) > limit
    ]
    if hidden:
        needed = min(max(len(runs), len(forgotten)), MAX_LIMIT)
        context.say(f"Not shown: {', '.join(hidden)}; `--limit {needed}` shows them", style="yellow")
    documents = [*runs[:limit], *forgotten[:limit]]
    return CommandResult(documents, _rows(documents) if documents else "No run needs attention")


async def _forgotten(context: CommandContext, client: Client) -> list[AttentionDocument]:
    """Describe the submissions in the store that no run follows."""
    try:
        forgotten = await list_forgotten(client, context.store)
    except StoreUnavailable as error:
        context.say(f"Submissions without a run are not listed: {error}", style="yellow")
        return []
    if forgotten.unasked:
        names = ", ".join(forgotten.unasked)
        context.say(
            f"Submissions without a run are not listed: {names} may know them, and does not answer", style="yellow"
        )
    return [_forgotten_document(each) for each in forgotten.found]


def _forgotten_document(submission: ForgottenSubmission) -> AttentionDocument:
    sent = f"Temporal has no run of it any more, and no results have landed. Sent {format_time(submission.sent)} UTC"
    unknown = "" if submission.batch_id else "; the reply was lost: look at the batches of that minute in the Console"
    return AttentionDocument(
        workflow_id=submission.workflow_id,
        batch_id=submission.batch_id,
        why=f"{sent}{unknown}",
        command=next_steps.take_up(submission),
    )


def attention_document(item: AttentionItem, now: datetime) -> AttentionDocument:
    """Describe in words why a run needs attention, with the command that helps."""
    view = item.view
    expiring = [] if item.expires_in is None else [f"The batch expires in {format_duration(item.expires_in)}"]
    return AttentionDocument(
        workflow_id=view.workflow_id,
        batch_id=view.batch_id,
        why=". ".join([*expiring, *tables.attention(view, now)]),
        command=next_steps.decide(item),
    )


def job_document(item: JobAttention, now: datetime) -> AttentionDocument:
    """Describe in words why a job needs attention, with the command that helps."""
    view = item.view
    seen = view.output or view.progress
    why = job_tables.reasons(view, now)
    if shards := item.failed_shards:
        count = seen.failed_shard_count if seen else 0
        why.append(f"{plural(count, 'shard')} without results, {shards[0].workflow_id}: {shards[0].message}")
    return AttentionDocument(
        workflow_id=view.workflow_id, batch_id=None, why=". ".join(why), command=next_steps.decide_job(item)
    )


def _rows(found: Sequence[AttentionDocument]) -> RenderableType:
    lines = []
    for run in found:
        lines.append(Text.assemble((run.workflow_id, "bold"), f"  {run.batch_id}" if run.batch_id else ""))
        lines += [Text(f"  {run.why}", style="yellow"), Text(f"  {run.command}", no_wrap=True, overflow="ignore")]
    return Group(*lines)
