"""The report of landed results at a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from message_batches.cli.next_steps import results, retry
from message_batches.formatting import describe_cost, describe_unfinished, plural, stopped_early, usage_table
from message_batches.job_models import JobOutput, MergedResults
from message_batches.models import BatchOutput
from message_batches.result_models import LandedResults, ResultCounts, Summary
from message_batches.results.failed import MAX_TOKENS, may_pass
from message_batches.results.replies import ReplyCell

MAX_REPLY = 200
"""Characters of a reply that are shown."""

_Results = LandedResults | BatchOutput | MergedResults

_STYLES = {"succeeded": "green", "errored": "red", "canceled": "yellow", "expired": "yellow"}


def report(
    landed: LandedResults | BatchOutput,
    replies: Sequence[ReplyCell],
    *,
    command: str,
    link: str | None = None,
    page: Path | None = None,
) -> RenderableType:
    """Show landed results.

    Args:
        landed: by a run, or found in the store.
        replies: the first of the results.
        command: the command line that gets the results.
        link: the run's page in the Web UI, where that is known.
        page: the file of the report, if one was written.
    """
    parts: list[RenderableType] = [_headline(f"Batch {landed.batch_id}", landed)]
    if isinstance(landed, BatchOutput) and landed.possibly_paid_twice:
        parts.append(_paid_twice(landed.possibly_paid_twice))
    if isinstance(landed, BatchOutput) and landed.paid_twice_unchecked:
        parts.append(Text(f"Whether it was paid twice is not known: {landed.paid_twice_unchecked}", style="yellow"))
    if isinstance(landed, BatchOutput) and landed.not_deleted:
        parts.append(Text(f"The batch is still at the provider: {landed.not_deleted}", style="yellow"))
    if isinstance(landed, BatchOutput) and landed.unfinished:
        parts.append(Text(describe_unfinished(landed.unfinished), style="yellow"))
    parts += [*_content(landed, replies), "", _places(landed, command, link, page)]
    return Group(*parts)


def job_report(merged: MergedResults, replies: Sequence[ReplyCell], *, job_id: str) -> RenderableType:
    """Show the merged results of a job, with the first of them."""
    parts: list[RenderableType] = [_headline(f"Job {job_id}", merged)]
    if merged.possibly_paid_twice:
        parts.append(_paid_twice(merged.possibly_paid_twice))
    if unfinished := merged.unfinished:
        more = ", ..." if unfinished.count > len(unfinished.custom_ids) else ""
        named = f"{', '.join(unfinished.custom_ids)}{more}"
        parts.append(Text(f"{plural(unfinished.count, 'request')} without a result: {named}", style="yellow"))
    parts += [*_content(merged, replies), "", _places_of_job(merged, job_id)]
    return Group(*parts)


def _content(landed: _Results, replies: Sequence[ReplyCell]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if replies:
        parts += ["", _replies(replies, landed.results_file.lines)]
    if landed.summary.errors:
        parts += ["", _errors(landed.summary)]
    if early := stopped_early(landed.summary.stop_reasons):
        parts += ["", _stopped(early)]
    if landed.summary.usage:
        parts += ["", _usage(landed.summary)]
    return parts


def _paid_twice(batch_ids: Sequence[str]) -> Text:
    return Text(
        f"Possibly paid twice: {', '.join(batch_ids)}. A POST without a reply may have created them, or another "
        "program: compare them in the Console",
        style="bold red",
    )


def _headline(name: str, landed: _Results) -> Text:
    counts = landed.summary.counts
    line = Text.assemble((name, "bold"), f": {landed.results_file.lines:,} results, ")
    counted = [
        Text(f"{number:,} {name}", style=_STYLES[name])
        for name in ResultCounts.model_fields
        if (number := getattr(counts, name)) or name == "succeeded"
    ]
    usable = landed.summary.usable
    if usable is not None and usable < counts.succeeded:
        return Text.assemble(line, Text(", ").join(counted), "; ", (f"{usable:,} usable", "yellow"))
    line.append_text(Text(", ").join(counted))
    return line


def _replies(replies: Sequence[ReplyCell], total: int) -> RenderableType:
    # The text takes the rest of the line and is cut short there; an id never is.
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), expand=True)
    table.add_column("custom_id", no_wrap=True, min_width=max(len(reply.custom_id) for reply in replies))
    table.add_column("outcome", no_wrap=True, min_width=len("succeeded"))
    table.add_column("reply", no_wrap=True, overflow="ellipsis", ratio=1)
    for reply in replies:
        style = _STYLES.get(reply.outcome, "red")
        text = " ".join(reply.text.split())[:MAX_REPLY]
        table.add_row(Text(reply.custom_id), Text(reply.outcome, style=style), Text(text))
    rest = total - len(replies)
    if rest > 0:
        table.add_row(Text(f"and {rest:,} more", style="dim"), "", "")
    return table


def _errors(summary: Summary) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("errors", overflow="fold", style="red")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("such as", overflow="fold")
    for group in summary.errors:
        example = f"{group.message} ({', '.join(group.custom_ids)})"
        table.add_row(Text(group.type), f"{group.count:,}", Text(example))
    return table


def _stopped(early: Sequence[tuple[str, str, str]]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("not usable", overflow="fold", style="yellow")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("such as", overflow="fold")
    for reason, count, ids in early:
        table.add_row(Text(reason), count, Text(ids))
    return table


def _usage(summary: Summary) -> RenderableType:
    head, rows = usage_table(summary.usage)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("tokens by model", overflow="fold")
    for column in head:
        table.add_column(column, justify="right", no_wrap=True)
    for model, *numbers in rows:
        table.add_row(Text(model), *numbers)
    return table


def _worth_doing(summary: Summary) -> str:
    """Return the option that gets the requests to send again; empty if every reply is whole."""
    counts, early = summary.counts, _early(summary)
    errors = counts.errored or counts.expired or counts.canceled
    if not early:
        return "--failed" if errors else ""
    raised = " --max-tokens N" if MAX_TOKENS in early else ""
    return f"--failed={'all' if errors else 'unusable'}{raised}"


def _places(landed: LandedResults | BatchOutput, command: str, link: str | None, page: Path | None) -> RenderableType:
    proof = (
        "each custom_id exactly once" if landed.verified else "count and uniqueness only: no requests to compare with"
    )
    deleted = "at the provider" if isinstance(landed, BatchOutput) and landed.deleted else None
    cost = describe_cost(landed.cost) if landed.cost else None
    rows = {"cost": cost, "checked": proof, "deleted": deleted, "results": landed.results_file.uri, "run": link}
    rows["report"] = str(page) if page else None
    if option := _worth_doing(landed.summary):
        rows["next"] = f"{command} {option} -o retry.jsonl"
    return _named(rows)


def _places_of_job(merged: MergedResults, job_id: str) -> RenderableType:
    """Say where the results are, what they cost, and what of a job was sent in which wave."""
    rows = {
        "cost": describe_cost(merged.cost) if merged.cost else None,
        "checked": "each custom_id exactly once" if merged.verified else "requests without a result are missing",
        "results": merged.results_file.uri,
        "shards": f"{merged.shards.count:,}, each with its batch in {merged.shards.uri}",
    }
    for wave in merged.waves if isinstance(merged, JobOutput) else ():
        rows[f"wave {wave.number}"] = (
            f"{plural(wave.sent, 'request')} in {plural(wave.shards, 'shard')}, {wave.usable:,} usable"
        )
    if MAX_TOKENS in _early(merged.summary):
        rows["next"] = retry(job_id, " --what unusable --max-tokens N")
    elif may_pass(merged.summary):
        rows["next"] = retry(job_id)
    elif option := _worth_doing(merged.summary):
        rows["next"] = f"{results(job_id)} {option} -o retry.jsonl"
    return _named(rows)


def _early(summary: Summary) -> list[str]:
    return [each.reason for each in summary.stop_reasons if not each.usable]


def _named(rows: Mapping[str, str | None]) -> RenderableType:
    # Not folded: a terminal that breaks a long line itself can still copy or open it whole.
    return Group(
        *(
            Text.assemble((f"{name:<9}", "dim"), value, no_wrap=True, overflow="ignore")
            for name, value in rows.items()
            if value
        )
    )
