"""The current details of a job: the markdown on its page in the Web UI."""

from collections.abc import Collection, Sequence
from datetime import datetime

from message_batches.api.keys import KEY_NAME
from message_batches.contract import RESUME_JOB, NextAction
from message_batches.formatting import (
    JOB_PHASE_LABELS,
    capitalize_first,
    format_duration,
    format_money,
    format_time,
    markdown_code,
    markdown_table,
    markdown_text,
    plural,
)
from message_batches.job_models import FailedShard, JobInput, JobOutput, JobWave
from workflows.jobs.state import JobState
from workflows.status.current_details import describe_fields, describe_landed


def describe_job(request: JobInput, state: JobState, now: datetime) -> str:
    """Return the status of a job: phase, why it is paused, times and cost, its waves, the shards without results."""
    rows = ((name, value) for name, value in _facts(request, state, now).items() if value)
    parts = [f"**{capitalize_first(JOB_PHASE_LABELS[state.phase])}**"]
    if state.paused:
        parts.append(
            f"**{markdown_text(state.paused)}**. Once that is settled, the update {markdown_code(RESUME_JOB)} lets the "
            "job go on."
        )
    parts.append(markdown_table(("", ""), rows))
    if state.waves:
        parts.append(_waves(state.waves, state.alive))
    if state.failed:
        parts.append(_failed(state.failed, state.failed_count))
    return "\n\n".join(parts)


def describe_merged(output: JobOutput) -> str:
    """Return how a job ended: what has no result, why no more was sent, outcomes, cost, the place of the results."""
    parts = []
    if output.unfinished:
        named = ", ".join(map(markdown_code, output.unfinished.custom_ids))
        parts.append(f"**{plural(output.unfinished.count, 'request')} without a result**, such as {named}")
    if output.stopped:
        parts.append(f"No more was sent: {markdown_text(output.stopped)}")
    checked = "each custom_id exactly once" if output.verified else "not every custom_id has a result"
    return "\n\n".join([*parts, describe_landed(output, checked)])


def settling(shard: FailedShard) -> str:
    """Return the next step for a shard without results, in a cell of a table."""
    if shard.action is NextAction.CHECK_BATCHES:
        found = f" ({', '.join(map(markdown_code, shard.candidates))})" if shard.candidates else ""
        return f"decide whether a batch of the account is its{found}, then start the job again"
    if shard.action is NextAction.RETRY:
        return "start the job again: what has failed in it is sent as a new wave"
    if shard.batch_id:
        return f"start the job again: it takes up {markdown_code(shard.batch_id)}"
    return "start the job again: it submits the shard"


def _facts(request: JobInput, state: JobState, now: datetime) -> dict[str, str]:
    # Until it is accepted it may be a key instead of a name, and must not be shown.
    key = f"key {markdown_code(request.api_key)}" if KEY_NAME.fullmatch(request.api_key) else ""
    requests = f"{state.requests:,}" if state.requests is not None else ""
    return {
        "elapsed": f"{format_duration(now - state.started)}, as of {format_time(now)} UTC" if state.started else "",
        "requests": ", ".join(part for part in (requests, key) if part),
        "cost so far": format_money(state.cost) if state.cost is not None else "",
        "paused since": f"{format_time(state.paused_since)} UTC" if state.paused_since else "",
        "deadline": f"{format_time(request.deadline)} UTC" if request.deadline else "",
        "waiting for": markdown_text(state.waiting_for or ""),
        "to be stopped": "what has finished is landed" if state.stopping else "",
        "no more is sent": markdown_text(state.stopped or ""),
        "not read": describe_fields(state.unread_fields),
    }


def _waves(waves: Sequence[JobWave], alive: Collection[int]) -> str:
    rows = [
        (
            str(wave.number),
            f"{wave.sent:,}",
            f"{wave.landed:,} of {wave.shards:,}",
            f"{len(alive) if wave is waves[-1] else 0:,}",
            f"{wave.usable:,}",
        )
        for wave in waves
    ]
    return markdown_table(("wave", "requests", "shards landed", "under way", "usable replies"), rows, numbers=4)


def _failed(shards: Sequence[FailedShard], count: int) -> str:
    rows = [
        (markdown_code(each.workflow_id), f"{markdown_text(each.type)}: {markdown_text(each.message)}", settling(each))
        for each in shards
    ]
    more = f"\n\nand {count - len(shards):,} more" if count > len(shards) else ""
    return f"{markdown_table(('without results', 'why', 'what settles it'), rows)}{more}"
