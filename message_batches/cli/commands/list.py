"""The command `list`: the newest runs, or those that need attention."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from message_batches.cli import next_steps, tables
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.json_output import AttentionDocument, ListedRunDocument
from message_batches.formatting import format_duration
from message_batches.runs import list as runs_list
from message_batches.runs.list import AttentionItem


async def list_runs(context: CommandContext, limit: int, statuses: Sequence[str]) -> CommandResult:
    """List the newest runs; those of these statuses, if any are named."""
    found = await runs_list.list_runs(await context.client(), context.store, limit, statuses)
    if found:
        shown: RenderableType = tables.listed(found)
    elif statuses:
        shown = f"No run is {' or '.join(statuses)}"
    else:
        shown = f"No runs yet: `{next_steps.called()} start FILE` starts one"
    return CommandResult([ListedRunDocument.of(run) for run in found], shown)


async def list_attention(context: CommandContext, limit: int) -> CommandResult:
    """List undecided submissions, landings that keep failing, batches of an unknown status or near their end."""
    now = datetime.now(UTC)
    items = await runs_list.list_attention(await context.client(), limit)
    documents = [attention_document(item, now) for item in items]
    return CommandResult(documents, _rows(documents) if documents else "No run needs attention")


def attention_document(item: AttentionItem, now: datetime) -> AttentionDocument:
    """Describe in words why a run needs attention, with the command that helps."""
    view = item.view
    expiring = [] if item.expires_in is None else [f"The batch expires in {format_duration(item.expires_in)}"]
    return AttentionDocument(
        workflow_id=view.workflow_id,
        batch_id=view.batch_id,
        why=". ".join([*expiring, *tables.attention(view, now)]),
        command=next_steps.decide(item.decision, view.workflow_id),
    )


def _rows(found: Sequence[AttentionDocument]) -> RenderableType:
    lines = []
    for run in found:
        lines.append(Text.assemble((run.workflow_id, "bold"), f"  {run.batch_id}" if run.batch_id else ""))
        lines += [Text(f"  {run.why}", style="yellow"), Text(f"  {run.command}", no_wrap=True, overflow="ignore")]
    return Group(*lines)
