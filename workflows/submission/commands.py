"""The commands of the submission protocol: each is the one next thing to do."""

from dataclasses import dataclass
from datetime import datetime

from message_batches.models import Anchor


@dataclass(frozen=True)
class FindAnchor:
    """Read the account's newest batch."""


@dataclass(frozen=True)
class Post:
    """Send the requests, as POST number `number`."""

    number: int
    anchor: Anchor


@dataclass(frozen=True)
class WaitUntil:
    """Wait until that time, or until an operator decides."""

    time: datetime
    reason: str


@dataclass(frozen=True)
class ListCandidates:
    """List the batches that may be ours."""

    anchor: Anchor


@dataclass(frozen=True)
class RecordNotFound:
    """Record that no batch was found for these POSTs, before another one is made."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class VerifyCandidate:
    """Compare the results of an ended candidate with the requests."""

    batch_id: str


@dataclass(frozen=True)
class ClaimBatch:
    """Claim a batch that is proved to be ours."""

    batch_id: str


@dataclass(frozen=True)
class Fail:
    """Fail the run: no answer can be had; `candidates` may be ours."""

    reason: str
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class StopAtDeadline:
    """Fail the run: its deadline has passed, there is no batch, and no POST with an unknown outcome is pending."""


@dataclass(frozen=True)
class Done:
    """Continue with the batch, which is known."""

    batch_id: str


Command = (
    FindAnchor
    | Post
    | WaitUntil
    | ListCandidates
    | RecordNotFound
    | VerifyCandidate
    | ClaimBatch
    | Fail
    | StopAtDeadline
    | Done
)
