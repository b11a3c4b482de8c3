"""The current details of a run: the markdown on its page in the Web UI.

They are not part of the history: opening the page has a worker compute them, and nothing else does.
"""

from datetime import datetime
from typing import Any

from temporalio import worker, workflow
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.exceptions import ActivityError, ApplicationError

from message_batches.api.keys import KEY_NAME
from message_batches.api.models import RESULTS_RETENTION
from message_batches.contract import RESOLVE_SUBMISSION
from message_batches.formatting import (
    PHASE_LABELS,
    capitalize_first,
    describe_cost,
    describe_unfinished,
    describe_unknown_end,
    format_duration,
    format_size,
    format_time,
    markdown_code,
    markdown_table,
    markdown_text,
    plural,
    stopped_early,
    usage_table,
)
from message_batches.job_models import MergedResults
from message_batches.models import BatchInput, BatchOutput, Manifest, Phase, RequestsInput
from message_batches.result_models import Summary
from message_batches.temporal.search_attributes import BatchStatus
from workflows.state import RunState
from workflows.status.search_attributes import status_of

MAX_SHOWN_CANDIDATES = 20


class DetailsOnRequest(worker.Interceptor):
    """Adds the current details to the answer that the page asks for: a run that set them would do so at each step."""

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[worker.WorkflowInboundInterceptor]:
        """Take in the queries of runs."""
        return _Details


class _Details(worker.WorkflowInboundInterceptor):
    async def handle_query(self, input: worker.HandleQueryInput) -> Any:
        answer = await super().handle_query(input)
        if isinstance(answer, WorkflowMetadata):
            answer.current_details = getattr(workflow.instance(), "current_details", "")
        return answer


def describe_status(request: BatchInput, state: RunState, now: datetime) -> str:
    """Return the status of a run: phase and batch, the requests, times and polls, and an undecided submission."""
    facts = _facts(request, state, now)
    rows = ((name, value) for name, value in facts.items() if value)
    parts = [_headline(state), *_warnings(state, now), markdown_table(("", ""), rows)]
    if state.phase is Phase.UNDECIDED:
        parts.append(_undecided(state))
    return "\n\n".join(parts)


def describe_outcome(output: BatchOutput) -> str:
    """Return how a run ended: outcomes, errors, replies that are not usable, tokens, cost, the place of the results."""
    checked = "each custom_id exactly once" if output.verified else "count and uniqueness only, there were no requests"
    parts = []
    if output.possibly_paid_twice:
        twice = ", ".join(map(markdown_code, output.possibly_paid_twice))
        parts.append(
            f"**Possibly paid twice**: {twice}. A POST without a reply may have created them, or another program"
        )
    if output.paid_twice_unchecked:
        parts.append(f"Whether it was paid twice is not known: {markdown_text(output.paid_twice_unchecked)}")
    if output.not_deleted:
        parts.append(f"The batch is still at the provider: {markdown_text(output.not_deleted)}")
    if output.unfinished:
        parts.append(f"**{markdown_text(describe_unfinished(output.unfinished))}**")
    deleted = " The batch is deleted at the provider." if output.deleted else ""
    return "\n\n".join([*parts, f"{describe_landed(output, checked)}{deleted}"])


def describe_landed(landed: BatchOutput | MergedResults, checked: str) -> str:
    """Return what came back: outcomes, errors, replies that are not usable, tokens, cost, the place of the results.

    Args:
        landed: the results.
        checked: how they were compared with the requests.
    """
    results = landed.results_file
    parts = [f"**{_outcomes(landed.summary)}**", *_tables(landed.summary)]
    if landed.cost:
        parts.append(f"Cost: {markdown_text(describe_cost(landed.cost))}.")
    parts.append(
        f"Results: {markdown_code(results.uri)}, {plural(results.lines, 'line')}, {format_size(results.bytes)}, "
        f"sha256 {markdown_code(results.sha256)}. Checked: {checked}."
    )
    return "\n\n".join(parts)


def describe_failure(error: BaseException) -> str:
    """Return why a run failed; empty for an error that is not a typed failure."""
    return f"**{error.type}**: {markdown_text(error.message)}" if isinstance(error, ApplicationError) else ""


def describe_failed_cancel(batch_id: str, error: ActivityError) -> str:
    """Return why a cancelled run's batch could not be cancelled."""
    why = markdown_text(str(error.cause))
    return f"**Batch {markdown_code(batch_id)} could not be cancelled; it continues and is billed**: {why}"


def describe_request(request: RequestsInput) -> str:
    """Return the summary and details that the run was started with, for the page of a run that continues another."""
    return "\n\n".join(part for part in (request.static_summary, request.static_details) if part)


def _headline(state: RunState) -> str:
    phase = f"**{capitalize_first(PHASE_LABELS[state.phase])}**"
    if not state.submission.batch_id:
        return phase
    return f"{phase}: {markdown_code(state.submission.batch_id)} {markdown_text(state.status)}"


def _warnings(state: RunState, now: datetime) -> list[str]:
    """Return what needs attention before it is too late."""
    status, batch = status_of(state, now), state.batch
    if state.not_found_since and state.phase is Phase.POLLING:
        return [f"**{_not_found(state)}**"]
    if status is BatchStatus.UNKNOWN_STATUS and batch:
        return [
            f"**The status {markdown_code(batch.processing_status)} is not known to this version**, and "
            f"{describe_unknown_end(batch.ended_at)}. Look at it in the Console."
        ]
    if status is BatchStatus.EXPIRING and batch:
        left = format_duration(batch.expires_at - now)
        return [
            f"**It expires in {left}**: requests that are not done by then come back as expired, and are not billed."
        ]
    if status is BatchStatus.LANDING_FAILING and batch and state.landing_fails_since:
        since, gone = format_time(state.landing_fails_since), format_time(batch.created_at + RESULTS_RETENTION)
        return [f"**Landing has failed since {since} UTC**; the API keeps the results until {gone} UTC."]
    return []


def _not_found(state: RunState) -> str:
    since = format_time(state.not_found_since) if state.not_found_since else ""
    seen = f"; it was there until {format_time(state.last_seen)} UTC" if state.last_seen else ""
    return f"The API has not found the batch since {since} UTC, in {plural(state.not_found, 'poll')}{seen}"


def _facts(request: BatchInput, state: RunState, now: datetime) -> dict[str, str]:
    manifest, batch = state.manifest, state.batch
    polling = state.phase is Phase.POLLING
    due = f", the next at {format_time(state.next_poll)} UTC" if state.next_poll else ", one is under way"
    waiting = state.waiting_for
    until = f", until {format_time(state.next_poll)} UTC" if waiting and state.next_poll else ""
    # Until it is accepted it may be a key instead of a name, and must not be shown.
    key = f"key {markdown_code(request.api_key)}" if KEY_NAME.fullmatch(request.api_key) else ""
    return {
        "elapsed": f"{format_duration(now - state.started)}, as of {format_time(now)} UTC" if state.started else "",
        "requests": ", ".join(part for part in (_requests(manifest), key) if part),
        "submission": _submission(request, state),
        "polls": f"{state.polls:,}{due if polling else ''}" if state.polls or polling else "",
        "deadline": _deadline(state, now),
        "expires": f"{format_time(batch.expires_at)} UTC" if batch and not batch.ended else "",
        "waiting for": f"{markdown_text(waiting)}{until}" if waiting else "",
        "not read": describe_fields(state.unread_fields),
        "to be cancelled": "as soon as the outcome of the POST is known" if state.cancel_requested else "",
    }


def _deadline(state: RunState, now: datetime) -> str:
    if state.deadline is None:
        return ""
    passed = "" if now < state.deadline else ", which has passed"
    canceled = ": the batch was canceled" if state.canceled_at_deadline else ""
    return f"{format_time(state.deadline)} UTC{passed}{canceled}"


def describe_fields(fields: tuple[str, ...]) -> str:
    """Return the fields of an input that were not read; empty if there are none."""
    named = ", ".join(map(markdown_code, fields))
    return f"{named}: this version knows no such field of the input" if fields else ""


def _requests(manifest: Manifest | None) -> str:
    return f"{manifest.count:,}, {format_size(manifest.body_bytes)}" if manifest else ""


def _submission(request: BatchInput, state: RunState) -> str:
    if request.batch_id:
        return "attached, submitted elsewhere"
    posted = state.submission.posted
    if not posted:
        sending = state.phase is Phase.SUBMITTING and not state.waiting_for
        return "the POST is under way" if sending else "nothing sent yet"
    sent = "sent once" if posted == 1 else f"sent {posted} times"
    return f"{sent}, {'answered' if state.submission.batch_id else 'no reply'}"


def _undecided(state: RunState) -> str:
    candidates = state.submission.candidates.batches
    if not candidates:
        return "No batch that may be ours was seen yet."
    rows = [
        (markdown_code(c.batch_id), markdown_text(c.processing_status), format_time(c.created_at)) for c in candidates
    ]
    shown = markdown_table(("may be ours", "status", "created (UTC)"), rows[:MAX_SHOWN_CANDIDATES])
    doubts = "".join(
        f"\n\n{markdown_code(c.batch_id)} {markdown_text(c.doubt)}"
        for c in candidates[:MAX_SHOWN_CANDIDATES]
        if c.doubt
    )
    more = f"\n\nand {len(rows) - MAX_SHOWN_CANDIDATES:,} more" if len(rows) > MAX_SHOWN_CANDIDATES else ""
    adopt, again = markdown_code('{"adopt": "MSGBATCH_ID"}'), markdown_code('{"submitAgain": true}')
    update = markdown_code(RESOLVE_SUBMISSION)
    return f"{shown}{more}{doubts}\n\nTo decide it yourself, send the update {update} with {adopt} or {again}."


def _outcomes(summary: Summary) -> str:
    counts = [(number, name) for name, number in summary.counts if number or name == "succeeded"]
    usable = summary.usable
    unusable = f"; {usable:,} usable" if usable is not None and usable < summary.counts.succeeded else ""
    return ", ".join(f"{number:,} {name}" for number, name in counts) + unusable


def _tables(summary: Summary) -> list[str]:
    tables: list[str] = []
    if summary.errors:
        rows = [
            (
                markdown_text(e.type),
                f"{markdown_text(e.message)} ({', '.join(map(markdown_code, e.custom_ids))})",
                f"{e.count:,}",
            )
            for e in summary.errors
        ]
        tables.append(markdown_table(("errors", "such as", "requests"), rows, numbers=1))
    if early := stopped_early(summary.stop_reasons):
        cut = [(markdown_text(reason), markdown_text(ids), count) for reason, count, ids in early]
        tables.append(markdown_table(("not usable", "such as", "replies"), cut, numbers=1))
    if summary.usage:
        head, usages = usage_table(summary.usage)
        tables.append(
            markdown_table(("tokens", *head), [(markdown_text(row[0]), *row[1:]) for row in usages], numbers=len(head))
        )
    return tables
