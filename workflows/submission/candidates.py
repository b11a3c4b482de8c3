"""The batches that may be ours after a lost reply, and what is known of each."""

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel

from activities.models import CandidateMatch
from message_batches.api.models import BATCH_LIFETIME
from message_batches.models import Candidate


class Candidates(BaseModel):
    """The candidates of a submission; carried over continue-as-new as part of it.

    Attributes:
        list_read_at: the last time the list was read since the POST, or since a candidate was dropped.
        matches: the candidates, by batch id.
        verified: candidates whose results are for exactly our custom_ids, the oldest first.
        refuted: batches whose results are not ours.
        dismissed: batches that an operator has ruled out.
        unreadable: ended candidates whose results could not be read since the list was read last.
        ambiguous: batches whose results are whole and do not tell whether they are ours; they are not read again.
        doubts: why a candidate is one of these two, by batch id.
        undecidable_since: when all candidates had ended without a proof.
    """

    list_read_at: datetime | None = None
    matches: dict[str, CandidateMatch] = {}
    verified: list[str] = []
    refuted: list[str] = []
    dismissed: list[str] = []
    unreadable: list[str] = []
    ambiguous: list[str] = []
    doubts: dict[str, str] = {}
    undecidable_since: datetime | None = None

    @property
    def batches(self) -> tuple[Candidate, ...]:
        """The batches that may be ours."""
        found = [match.candidate for match in self.matches.values()]
        return tuple(each.model_copy(update={"doubt": self.doubts.get(each.batch_id)}) for each in found)

    @property
    def doubt(self) -> str:
        """Why the results of a candidate do not tell whether it is ours; empty if there is none such."""
        return next((self.doubts[batch_id] for batch_id in self.ambiguous if batch_id in self.matches), "")

    @property
    def provable(self) -> list[str]:
        """The verified candidates that no other undecided run may have created, the oldest first."""
        return [batch_id for batch_id in self.verified if not self.matches[batch_id].rivals]

    def next_to_verify(self, now: datetime) -> str | None:
        """Return an ended candidate whose results have not been compared with the requests, or None."""
        known = {*self.verified, *self.unreadable, *self.ambiguous}
        ended = (batch_id for batch_id, match in self.matches.items() if _has_ended(match, now))
        return next((batch_id for batch_id in ended if batch_id not in known), None)

    def on_list_read(self, matches: Iterable[CandidateMatch], now: datetime) -> None:
        """Take the list in; a candidate that it lacks stays one: real batches are missing from it occasionally."""
        self.list_read_at = now
        self.unreadable = []
        for match in matches:
            batch_id = match.candidate.batch_id
            if match.taken:
                self.drop(batch_id)
            elif batch_id not in (*self.refuted, *self.dismissed):
                self.matches[batch_id] = match
        self._update_undecidable_since(now)

    def on_verified(self, batch_id: str, *, ours: bool, now: datetime) -> None:
        """Take in the comparison of an ended candidate's results with the requests."""
        self.doubts.pop(batch_id, None)
        if ours:
            self.verified.append(batch_id)
            self.verified.sort(key=lambda verified: self.matches[verified].candidate.created_at)
        else:
            self.refuted.append(batch_id)
            self.drop(batch_id)
        self._update_undecidable_since(now)

    def on_unreadable(self, batch_id: str, why: str = "", *, final: bool = False) -> None:
        """Take in that an ended candidate's results told nothing: they are read again after the list is read next.

        Args:
            batch_id: of the candidate.
            why: the reason, in a sentence.
            final: whether they were whole, so that they would tell nothing again.
        """
        self.doubts[batch_id] = why
        (self.ambiguous if final else self.unreadable).append(batch_id)

    def drop(self, batch_id: str) -> None:
        """Remove a candidate; whether the quiet period is over is decided once the list is read again."""
        if self.matches.pop(batch_id, None):
            self.list_read_at = None
        if batch_id in self.verified:
            self.verified.remove(batch_id)

    def dismiss_all(self) -> None:
        """Rule out all candidates, for every later POST too."""
        self.dismissed += self.matches
        self.clear()

    def clear(self) -> None:
        """Forget the candidates, because the last POST is decided."""
        self.matches = {}
        self.verified = []
        self.undecidable_since = None

    def _update_undecidable_since(self, now: datetime) -> None:
        if not self.matches or not all(_has_ended(match, now) for match in self.matches.values()):
            self.undecidable_since = None
        elif self.undecidable_since is None:
            self.undecidable_since = now


def _has_ended(match: CandidateMatch, now: datetime) -> bool:
    """Return whether a candidate has ended: it was seen to, or every batch of its age has."""
    return match.candidate.ended or now >= match.candidate.created_at + BATCH_LIFETIME
