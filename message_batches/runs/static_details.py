"""The static summary and details of a run: its requests and options, as the Web UI shows them from the start."""

from dataclasses import dataclass
from typing import Self

from message_batches.api.models import ApiProfile
from message_batches.formatting import (
    DETAILS_BYTES,
    SUMMARY_BYTES,
    format_size,
    markdown_code,
    markdown_table,
    markdown_text,
    plural,
    truncate_payload,
)
from message_batches.models import PollSchedule
from message_batches.requests.reader import CheckedRequests

_MOST_ROWS = 10


@dataclass(frozen=True)
class StaticDetails:
    """A summary of one line, and details in markdown."""

    summary: str
    details: str

    @classmethod
    def of_requests(cls, requests: CheckedRequests, name: str, profile: ApiProfile, poll: PollSchedule) -> Self:
        """Describe a run that sends requests.

        Args:
            requests: those that are sent.
            name: of their file, or where else they are from.
            profile: the key's name, the version and the betas.
            poll: the cadence.
        """
        count = plural(requests.count, "request")
        models = [(markdown_text(model), f"{number:,}") for model, number in requests.models.items()]
        parts = [
            f"**{count}** from {markdown_code(name)}, {format_size(requests.body_bytes)}. "
            f"At most {requests.max_tokens:,} output tokens can come back.",
            markdown_table(("model", "requests"), models[:_MOST_ROWS], numbers=1),
            f"and {plural(len(models) - _MOST_ROWS, 'model')} more" if len(models) > _MOST_ROWS else "",
            "\n".join(f"- {warning}" for warning in requests.warnings[:_MOST_ROWS]),
            _options(profile, poll),
        ]
        details = "\n\n".join(part for part in parts if part)
        return cls(
            truncate_payload(f"{count} from {markdown_code(name)}", SUMMARY_BYTES),
            truncate_payload(details, DETAILS_BYTES),
        )

    @classmethod
    def of_batch(cls, batch_id: str, requests: Self | None, profile: ApiProfile, poll: PollSchedule) -> Self:
        """Describe a run that takes over a batch, with its requests where they are given."""
        taken = f"Take over {markdown_code(batch_id)}, "
        if requests:
            summary = truncate_payload(f"take over {batch_id}: {requests.summary}", SUMMARY_BYTES)
            return cls(summary, truncate_payload(f"{taken}with its requests.\n\n{requests.details}", DETAILS_BYTES))
        return cls(f"take over {batch_id}", f"{taken}without its requests.\n\n{_options(profile, poll)}")


def _options(profile: ApiProfile, poll: PollSchedule) -> str:
    betas = (
        f", betas {', '.join(map(markdown_code, profile.anthropic_beta[:_MOST_ROWS]))}"
        if profile.anthropic_beta
        else ""
    )
    version = markdown_code(profile.anthropic_version)
    every = f"{poll.retry_after.total_seconds():g} s"
    return f"Key {markdown_code(profile.api_key)}, version {version}{betas}, a poll every {every}."
