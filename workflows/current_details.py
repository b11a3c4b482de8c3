"""A run's current details: what its page in the Web UI shows, markdown, set anew at each step.

They are no part of the history: whoever opens the page has a worker compute them.
"""

from datetime import datetime, timedelta

from temporalio.exceptions import ActivityError, ApplicationError

from message_batches.api.keys import KEY_NAME
from message_batches.formatting import PHASES, clock, code, moment, plain, plural, sentence, size, table
from message_batches.models import BatchInput, BatchOutput, Manifest, Phase, Summary
from message_batches.temporal.search_attributes import BatchStatus
from workflows.search_attributes import status_of
from workflows.state import RunState

SHOWN_CANDIDATES = 20

RESULTS_KEPT = timedelta(days=29)
"""After a batch's creation, by the API's documentation."""


def standing(request: BatchInput, state: RunState, now: datetime, *, workflow_id: str) -> str:
    """Where a run stands: phase and batch, what was asked, times and polls, and what is not decided."""
    facts = _facts(request, state, now)
    rows = ((name, value) for name, value in facts.items() if value)
    parts = [_headline(state), *_warnings(state, now), table(("", ""), rows)]
    if state.phase is Phase.UNDECIDED:
        parts.append(_undecided(state, workflow_id))
    return "\n\n".join(parts)


def outcome(output: BatchOutput) -> str:
    """How a run ended: results by outcome, errors by type, tokens by model, and where the results are."""
    results = output.results_file
    checked = "each custom_id exactly once" if output.verified else "count and uniqueness only, there were no requests"
    parts = []
    if output.possibly_paid_twice:
        parts.append(f"**Possibly paid twice**: {', '.join(map(code, output.possibly_paid_twice))}")
    if output.paid_twice_unchecked:
        parts.append(f"Whether it was paid twice is not known: {plain(output.paid_twice_unchecked)}")
    if output.not_deleted:
        parts.append(f"The batch is still at the provider: {plain(output.not_deleted)}")
    parts += [f"**{_outcomes(output.summary)}**", *_tables(output.summary)]
    parts.append(
        f"Results: {code(results.uri)}, {plural(results.lines, 'line')}, {size(results.bytes)}, "
        f"sha256 {code(results.sha256)}. Checked: {checked}."
        f"{' The batch is deleted at the provider.' if output.deleted else ''}"
    )
    return "\n\n".join(parts)


def failed(error: BaseException) -> str:
    """Why a run failed; nothing for what is not a failure of ours."""
    return f"**{error.type}**: {plain(error.message)}" if isinstance(error, ApplicationError) else ""


def not_cancelled(batch_id: str, error: ActivityError) -> str:
    """A cancelled run's batch could not be stopped."""
    return f"**Batch {code(batch_id)} could not be cancelled; it goes on and is billed**: {plain(str(error.cause))}"


def as_asked(request: BatchInput) -> str:
    """What the run was started with, for the page of a run that continues another: there it is no longer shown."""
    return "\n\n".join(part for part in (request.static_summary, request.static_details) if part)


def _headline(state: RunState) -> str:
    phase = f"**{sentence(PHASES[state.phase])}**"
    if not state.submission.batch_id:
        return phase
    return f"{phase}: {code(state.submission.batch_id)} {plain(state.status)}"


def _warnings(state: RunState, now: datetime) -> list[str]:
    """What somebody should look at before it is too late."""
    status, batch = status_of(state, now), state.batch
    if status is BatchStatus.EXPIRING and batch:
        left = clock(batch.expires_at - now)
        return [f"**It expires in {left}**: what is not done by then comes back as expired, and is not billed."]
    if status is BatchStatus.LANDING_FAILING and batch and state.landing_fails_since:
        since, gone = moment(state.landing_fails_since), moment(batch.created_at + RESULTS_KEPT)
        return [f"**Landing has failed since {since} UTC**; the API keeps the results until {gone} UTC."]
    return []


def _facts(request: BatchInput, state: RunState, now: datetime) -> dict[str, str]:
    manifest, batch = state.manifest, state.batch
    polling = state.phase is Phase.POLLING
    due = f", the next at {moment(state.next_poll)} UTC" if state.next_poll else ", one is under way"
    waiting = state.waiting_for
    until = f", until {moment(state.next_poll)} UTC" if waiting and state.next_poll else ""
    # Until it is accepted it may be a key instead of a name, and nothing of it is to be shown.
    key = f"key {code(request.api_key)}" if KEY_NAME.fullmatch(request.api_key) else ""
    return {
        "elapsed": f"{clock(now - state.started)}, as of {moment(now)} UTC" if state.started else "",
        "requests": ", ".join(part for part in (_requests(manifest), key) if part),
        "submission": _submission(request, state),
        "polls": f"{state.polls:,}{due if polling else ''}" if state.polls or polling else "",
        "expires": f"{moment(batch.expires_at)} UTC" if batch and not batch.ended else "",
        "waiting for": f"{plain(waiting)}{until}" if waiting else "",
        "to be cancelled": "as soon as nothing is in doubt" if state.cancel_requested else "",
    }


def _requests(manifest: Manifest | None) -> str:
    return f"{manifest.count:,}, {size(manifest.body_bytes)}" if manifest else ""


def _submission(request: BatchInput, state: RunState) -> str:
    if request.batch_id:
        return "taken over, sent elsewhere"
    posted = state.submission.posted
    if not posted:
        return "nothing sent yet" if state.phase is not Phase.SUBMITTING else "the POST is under way"
    sent = "sent once" if posted == 1 else f"sent {posted} times"
    return f"{sent}, {'answered' if state.submission.batch_id else 'no reply'}"


def _undecided(state: RunState, workflow_id: str) -> str:
    candidates = state.submission.candidates
    if not candidates:
        return "No batch was seen yet that may be ours."
    rows = [(code(c.batch_id), plain(c.processing_status), moment(c.created_at)) for c in candidates]
    shown = table(("may be ours", "status", "created (UTC)"), rows[:SHOWN_CANDIDATES])
    more = f"\n\nand {len(rows) - SHOWN_CANDIDATES:,} more" if len(rows) > SHOWN_CANDIDATES else ""
    decide = code(f"starter.py resolve {workflow_id} --adopt MSGBATCH_ID | --submit-again")
    return f"{shown}{more}\n\nTo decide it yourself: {decide}"


def _outcomes(summary: Summary) -> str:
    counts = [(number, name) for name, number in summary.counts if number or name == "succeeded"]
    return ", ".join(f"{number:,} {name}" for number, name in counts)


def _tables(summary: Summary) -> list[str]:
    tables: list[str] = []
    if summary.errors:
        rows = [
            (plain(e.type), f"{plain(e.message)} ({', '.join(map(code, e.custom_ids))})", f"{e.count:,}")
            for e in summary.errors
        ]
        tables.append(table(("errors", "such as", "requests"), rows, numbers=1))
    if summary.tokens:
        cached = any(usage.cache_write or usage.cache_read for usage in summary.tokens.values())
        kinds = ("input", "output", "cache_write", "cache_read") if cached else ("input", "output")
        usages = [
            (plain(model), *(f"{getattr(usage, kind):,}" for kind in kinds)) for model, usage in summary.tokens.items()
        ]
        tables.append(table(("tokens", *(kind.replace("_", " ") for kind in kinds)), usages, numbers=len(kinds)))
    return tables
