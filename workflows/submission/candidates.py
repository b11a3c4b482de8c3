"""The batches that may be ours after a lost reply, and what is known of each."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel

from activities.models import Sighting
from message_batches.models import Candidate

LIFETIME = timedelta(hours=24)
"""After that every batch has ended, also one that was deleted while it was not looked at."""


class Candidates(BaseModel):
    """The part of a submission that follows candidates; carried over continue-as-new as part of it.

    Attributes:
        looked_at: the last look at the list since the POST or since a candidate was refuted.
        sightings: the candidates, by batch id.
        matching: candidates whose results are for exactly our custom_ids.
        refuted: batches whose results are not ours.
        dismissed: batches that a person has ruled out.
        unreadable: ended candidates whose results could not be read since the last look.
        undecidable_since: when all candidates had ended without a proof.
    """

    looked_at: datetime | None = None
    sightings: dict[str, Sighting] = {}
    matching: list[str] = []
    refuted: list[str] = []
    dismissed: list[str] = []
    unreadable: list[str] = []
    undecidable_since: datetime | None = None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The batches that may be ours."""
        return tuple(sighting.candidate for sighting in self.sightings.values())

    def examined(self, batch_id: str, *, ours: bool, now: datetime) -> None:
        """An ended candidate's results were held against the requests."""
        if ours:
            self.matching.append(batch_id)
            self.matching.sort(key=lambda i: self.sightings[i].candidate.created_at)
        else:
            self.refuted.append(batch_id)
            self._drop(batch_id)
        self._note_patience(now)

    def not_examined(self, batch_id: str) -> None:
        """An ended candidate's results could not be read: again after the next look."""
        self.unreadable.append(batch_id)

    def _sighted(self, sightings: Sequence[Sighting], now: datetime) -> None:
        """The list was read; a candidate that it lacks stays one: real batches are missing from it now and then."""
        self.unreadable = []
        for sighting in sightings:
            batch_id = sighting.candidate.batch_id
            if sighting.taken:
                self._drop(batch_id)
            elif batch_id not in (*self.refuted, *self.dismissed):
                self.sightings[batch_id] = sighting
        self._note_patience(now)

    def _forgotten(self) -> None:
        self.sightings = {}
        self.matching = []
        self.undecidable_since = None

    def _drop(self, batch_id: str) -> None:
        """No longer a candidate; whether the quiet period is over is for the next look to say."""
        if self.sightings.pop(batch_id, None):
            self.looked_at = None
        if batch_id in self.matching:
            self.matching.remove(batch_id)

    def _note_patience(self, now: datetime) -> None:
        if not self.sightings or not all(has_ended(sighting, now) for sighting in self.sightings.values()):
            self.undecidable_since = None
        elif self.undecidable_since is None:
            self.undecidable_since = now


def has_ended(sighting: Sighting, now: datetime) -> bool:
    """Whether a candidate has ended, as far as it was seen, or as every batch has by then."""
    return sighting.candidate.ended or now >= sighting.candidate.created_at + LIFETIME
