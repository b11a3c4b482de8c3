"""What the submission protocol may ask for next."""

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
    """Nothing to do before that time, unless a person decides."""

    time: datetime
    why: str


@dataclass(frozen=True)
class Look:
    """List the candidates."""

    anchor: Anchor


@dataclass(frozen=True)
class NoteAbsent:
    """Record that no batch was found for these POSTs, before another one is made."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Examine:
    """Hold the results of an ended candidate against the requests."""

    batch_id: str


@dataclass(frozen=True)
class Claim:
    """A candidate is proved: claim it."""

    batch_id: str


@dataclass(frozen=True)
class GiveUp:
    """No answer can be had; `candidates` may be ours."""

    why: str
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settled:
    """The batch is known."""

    batch_id: str


Move = FindAnchor | Post | WaitUntil | Look | NoteAbsent | Examine | Claim | GiveUp | Settled
