"""What a run is asked for, as the Web UI shows it from its start: static summary and details."""

from dataclasses import dataclass
from typing import Self

from message_batches.markdown import code, plain, table
from message_batches.models import Account, PollSchedule
from message_batches.requests_file import Requests
from message_batches.wording import plural, size

LONGEST_SUMMARY = 300
"""Bytes; Temporal takes 400."""
SHOWN = 10


@dataclass(frozen=True)
class Asked:
    """A line, and markdown."""

    summary: str
    details: str

    @classmethod
    def of_file(cls, file: str, requests: Requests, account: Account, poll: PollSchedule) -> Self:
        """What is asked with a file of requests."""
        name = "standard input" if file == "-" else file
        count = plural(requests.count, "request")
        models = [(plain(model), f"{number:,}") for model, number in requests.models.items()]
        parts = [
            f"**{count}** from {code(name)}, {size(requests.body_bytes)}. "
            f"At most {requests.max_tokens:,} output tokens can come back.",
            table(("model", "requests"), models[:SHOWN], numbers=1),
            f"and {plural(len(models) - SHOWN, 'model')} more" if len(models) > SHOWN else "",
            "\n".join(f"- {warning}" for warning in requests.warnings[:SHOWN]),
            _how(account, poll),
        ]
        return cls(_short(f"{count} from {name}"), "\n\n".join(part for part in parts if part))

    @classmethod
    def of_batch(cls, batch_id: str, requests: Self | None, account: Account, poll: PollSchedule) -> Self:
        """What is asked with a batch that exists, and with its requests where they are there."""
        taken = f"Take over {code(batch_id)}, "
        if requests:
            return cls(
                _short(f"take over {batch_id}: {requests.summary}"), f"{taken}with its requests.\n\n{requests.details}"
            )
        return cls(f"take over {batch_id}", f"{taken}without its requests.\n\n{_how(account, poll)}")


def _how(account: Account, poll: PollSchedule) -> str:
    betas = f", betas {', '.join(map(code, account.anthropic_beta[:SHOWN]))}" if account.anthropic_beta else ""
    version = code(account.anthropic_version)
    every = f"{poll.retry_after.total_seconds():g} s"
    return f"Key {code(account.api_key)}, version {version}{betas}, a poll every {every}."


def _short(text: str) -> str:
    encoded = " ".join(text.split()).encode(errors="replace")
    cut = "" if len(encoded) <= LONGEST_SUMMARY else "..."
    return f"{encoded[:LONGEST_SUMMARY].decode(errors='ignore')}{cut}"
