"""What a run is asked for, as the Web UI shows it from its start: static summary and details."""

from dataclasses import dataclass
from typing import Self

from message_batches.api.models import Account
from message_batches.formatting import DETAILS_BYTES, SUMMARY_BYTES, code, fitted, plain, plural, size, table
from message_batches.models import PollSchedule
from message_batches.requests.reader import Requests

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
        details = "\n\n".join(part for part in parts if part)
        return cls(fitted(f"{count} from {code(name)}", SUMMARY_BYTES), fitted(details, DETAILS_BYTES))

    @classmethod
    def of_batch(cls, batch_id: str, requests: Self | None, account: Account, poll: PollSchedule) -> Self:
        """What is asked with a batch that exists, and with its requests where they are there."""
        taken = f"Take over {code(batch_id)}, "
        if requests:
            summary = fitted(f"take over {batch_id}: {requests.summary}", SUMMARY_BYTES)
            return cls(summary, fitted(f"{taken}with its requests.\n\n{requests.details}", DETAILS_BYTES))
        return cls(f"take over {batch_id}", f"{taken}without its requests.\n\n{_how(account, poll)}")


def _how(account: Account, poll: PollSchedule) -> str:
    betas = f", betas {', '.join(map(code, account.anthropic_beta[:SHOWN]))}" if account.anthropic_beta else ""
    version = code(account.anthropic_version)
    every = f"{poll.retry_after.total_seconds():g} s"
    return f"Key {code(account.api_key)}, version {version}{betas}, a poll every {every}."
