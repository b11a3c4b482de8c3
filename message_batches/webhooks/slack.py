"""The shape `slack`: an event as a message of Slack's Block Kit, within its documented limits.

Source: https://docs.slack.dev/reference/block-kit/blocks
"""

import json
from typing import Any

from message_batches.webhooks.events import Event, EventType

_MAX_HEADER, _MAX_FIELD = 150, 2000

_TITLES = {
    EventType.BATCH_SUBMITTED: "Batch submitted",
    EventType.BATCH_UNDECIDED: "Batch undecided: no usable reply to the POST",
    EventType.BATCH_NEEDS_ATTENTION: "Batch needs attention",
    EventType.BATCH_LANDED: "Batch landed",
    EventType.BATCH_FAILED: "Batch failed",
    EventType.BATCH_CANCELED: "Batch canceled",
    EventType.JOB_SUBMITTED: "Job submitted",
    EventType.JOB_NEEDS_ATTENTION: "Job needs attention",
    EventType.JOB_LANDED: "Job landed",
    EventType.JOB_FAILED: "Job failed",
    EventType.JOB_CANCELED: "Job canceled",
}


def slack_body(event: Event) -> bytes:
    """Return the message for an incoming webhook."""
    data, title = event.data, _TITLES[event.type]
    rows: dict[str, Any] = {
        "Batch": data.batch_id,
        "Requests": f"{data.requests:,}" if data.requests is not None else None,
        "Why": data.reason,
        "Outcome": data.outcome,
        "Next step": data.action,
        "Results": _counts(event),
        "Cost": _cost(event),
        "Unfinished": f"{data.unfinished:,}" if data.unfinished else None,
        "Possibly paid twice": _ids(data.possibly_paid_twice),
        "May be ours": _ids(data.candidates),
    }
    fields = [_markdown(f"*{name}*\n{_escape(str(value))}") for name, value in rows.items() if value]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title[:_MAX_HEADER]}},
        *([{"type": "section", "fields": fields}] if fields else []),
    ]
    if data.results_file:
        blocks.append({"type": "section", "text": _markdown(f"*Results file*\n{_code(data.results_file.uri)}")})
    run = f"{_code(data.workflow_id)} in {_escape(data.namespace)}, {event.timestamp:%Y-%m-%d %H:%M:%S} UTC"
    blocks.append({"type": "context", "elements": [_markdown(run)]})
    text = _escape(f"{title}: {data.batch_id or data.workflow_id}")
    return json.dumps({"text": text[:_MAX_FIELD], "blocks": blocks}).encode()


def _counts(event: Event) -> str | None:
    counts, usable = event.data.counts, event.data.usable
    if counts is None:
        return None
    named = [f"{number:,} {name}" for name, number in counts if number or name == "succeeded"]
    unusable = [f"{usable:,} usable"] if usable is not None and usable < counts.succeeded else []
    return ", ".join([*named, *unusable])


def _cost(event: Event) -> str | None:
    cost = event.data.cost
    if cost is None or cost.amount is None:
        return None
    return f"{cost.amount:.2f} {cost.currency}{', not of all models' if cost.partial else ''}"


def _ids(ids: tuple[str, ...] | None) -> str | None:
    return ", ".join(ids) if ids else None


def _markdown(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text[:_MAX_FIELD]}


def _code(text: str) -> str:
    return f"`{_escape(text.replace('`', ' '))[: _MAX_FIELD - 100]}`"


def _escape(text: str) -> str:
    """Return a text in which nothing mentions anybody, or is a link of another's making."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
