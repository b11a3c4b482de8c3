"""What the store remembers of submissions: intents, their outcomes, and which run claims a batch.

    submissions/<key>/<count>-<hash of the custom_ids>/<workflow>-<first run>-<n>.json           an intent to POST
    submissions/<key>/<count>-<hash of the custom_ids>/<workflow>-<first run>-<n>.outcome.json   what came of it
    claims/<batch id>.json                                                                       whose batch it is

Every record is put once and never changed, so that two workers, a frozen one among them, cannot undo each other.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

from pydantic import AwareDatetime, ValidationError

from message_batches.errors import StoreUnavailable
from message_batches.models import Anchor, Manifest
from message_batches.serialization import Boundary, Seconds
from message_batches.storage.interface import Store

_Kept = TypeVar("_Kept", bound=Boundary)

CLOCK_MARGIN = timedelta(hours=1)
"""How far this machine's clock and the API's may be apart when a batch is held against an intent."""


class Submitter(Boundary):
    """Who submits what: a run, over resets, retries and continue-as-new, and its requests under a key."""

    api_key: str
    count: int
    ids_sha256: str
    workflow_id: str
    first_run_id: str

    @property
    def claim(self) -> "Claim":
        """What it puts on a batch that is its own."""
        return Claim(owner=self.workflow_id, first_run_id=self.first_run_id)

    @classmethod
    def of(cls, manifest: Manifest, *, api_key: str, workflow_id: str, first_run_id: str) -> "Submitter":
        """The submitter of a manifest."""
        return cls(
            api_key=api_key,
            count=manifest.count,
            ids_sha256=manifest.ids_sha256,
            workflow_id=workflow_id,
            first_run_id=first_run_id,
        )


class Intent(Boundary):
    """Written before a POST: without an outcome beside it, that POST may have created a batch."""

    workflow_id: str
    first_run_id: str
    number: int
    anchor: Anchor
    sha256: str
    time: AwareDatetime
    timeout: Seconds
    nonce: str
    """Tells the writer's own intent, put by a call that the store retried, from an earlier one."""


class Outcome(Boundary):
    """What came of a POST: this batch, or none (`created` says how sure that is)."""

    batch_id: str | None = None
    created: bool | None = None
    """False: certainly not created. None with no batch: not found in the list through the quiet period."""


class Record(Boundary):
    """An intent and what is known of its outcome."""

    intent: Intent
    outcome: Outcome | None = None

    @property
    def may_have_created(self) -> bool:
        """Whether a batch that no record names may stem from this POST."""
        return self.outcome is None or (self.outcome.batch_id is None and self.outcome.created is None)

    @property
    def created_nothing(self) -> bool:
        """Whether it is known that this POST made no batch."""
        return self.outcome is not None and self.outcome.created is False


class Claim(Boundary):
    """Whose batch it is: a workflow id, and its execution, since an id may be used again.

    Attributes:
        attached: it was taken over, by whoever knew its id: another run may still be the one that sent it.
    """

    owner: str
    first_run_id: str
    attached: bool = False

    def of_same_run(self, other: "Claim") -> bool:
        """Whether both are one run's."""
        return (self.owner, self.first_run_id) == (other.owner, other.first_run_id)


class Ledger:
    """The records of submissions and claims in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def intend(self, who: Submitter, intent: Intent) -> Record | None:
        """Write an intent; None if it is new, else the record of the one that is there, or of what is decided already.

        A run that has given up on a POST leaves an outcome behind: whoever comes late with the intent finds it.
        """
        name = _intent_name(who, intent.number)
        created = await self._store.create(name, _json(intent))
        found = await self.record(name)
        if found is None:
            raise StoreUnavailable(f"{self._store.uri(name)} cannot be read; nothing was sent")
        new = created or found.intent.nonce == intent.nonce
        return None if new and found.outcome is None else found

    async def known(self, who: Submitter, number: int) -> Outcome | None:
        """What came of a POST, as far as it is recorded."""
        return await self._read(_outcome_name(_intent_name(who, number)), Outcome)

    async def settle(self, who: Submitter, number: int, outcome: Outcome) -> None:
        """Write what came of a POST; what is already known stays."""
        await self._store.create(_outcome_name(_intent_name(who, number)), _json(outcome))

    async def claim(self, batch_id: str, claim: Claim) -> Claim:
        """Claim a batch; whose it is now, which may be somebody else."""
        if await self._store.create(_claim_name(batch_id), _json(claim)):
            return claim
        claimed = await self.claimed(batch_id)
        if claimed is None:
            raise StoreUnavailable(f"{self._store.uri(_claim_name(batch_id))} was there, and is gone: try again")
        return claimed

    async def claimed(self, batch_id: str) -> Claim | None:
        """Whose batch it is; None if nobody has claimed it."""
        return await self._read(_claim_name(batch_id), Claim)

    async def owner(self, batch_id: str) -> str | None:
        """The workflow id of whoever has claimed a batch."""
        claim = await self.claimed(batch_id)
        return claim.owner if claim else None

    async def posts(self, who: Submitter) -> tuple[list[Record], list[Record]]:
        """The POSTs of these custom_ids on this key: the run's own, and those of other runs."""
        mine: list[Record] = []
        others: list[Record] = []
        for record in await self._records(_folder(who.api_key, who.count, who.ids_sha256)):
            own = (record.intent.workflow_id, record.intent.first_run_id) == (who.workflow_id, who.first_run_id)
            (mine if own else others).append(record)
        return mine, others

    async def submissions(self, manifest: Manifest, *, api_key: str, workflow_id: str) -> list[Record]:
        """Every POST of these requests that a workflow id ever intended, oldest first."""
        records = await self._records(_folder(api_key, manifest.count, manifest.ids_sha256))
        return sorted((r for r in records if r.intent.workflow_id == workflow_id), key=lambda r: r.intent.time)

    async def records_of(self, workflow_ids: Collection[str]) -> dict[str, list[Record]]:
        """Every POST that these workflow ids ever intended, of any requests, oldest first; lists all names once."""
        starts = tuple(f"{file_part(workflow_id)}-" for workflow_id in workflow_ids)
        names = [name for name in await self._store.names("submissions/") if name.rsplit("/", 1)[-1].startswith(starts)]
        read = [await self.record(name) for name in _intents_among(names)]
        found: dict[str, list[Record]] = {}
        for record in sorted((r for r in read if r), key=lambda r: r.intent.time):
            if record.intent.workflow_id in workflow_ids:
                found.setdefault(record.intent.workflow_id, []).append(record)
        return found

    async def record(self, name: str) -> Record | None:
        """The record of the intent of that name in the store."""
        intent = await self._read(name, Intent)
        return Record(intent=intent, outcome=await self._read(_outcome_name(name), Outcome)) if intent else None

    async def _records(self, folder: str) -> list[Record]:
        names = await self._store.names(folder)
        found = [await self.record(name) for name in _intents_among(names)]
        return [record for record in found if record]

    async def _read(self, name: str, kind: type[_Kept]) -> _Kept | None:
        """An object of ours; one that is damaged stands for what nobody can know, and so for nothing sent."""
        content = await self._store.read(name)
        try:
            return None if content is None else kind.model_validate_json(content)
        except ValidationError as error:
            what = f"it is no {kind.__name__}, {len(content or b''):,} bytes"
            raise StoreUnavailable(f"{self._store.uri(name)} is damaged ({what}): restore it") from error


def may_stem_from(record: Record, created_at: datetime) -> bool:
    """Whether a batch of that time may have been created by that POST."""
    return created_at <= record.intent.time + record.intent.timeout + CLOCK_MARGIN and (
        created_at >= record.intent.anchor.created_at - CLOCK_MARGIN
    )


def file_part(identity: str) -> str:
    """An id as part of a file name: a long one, or one with other characters, by its hash too."""
    plain = quote(identity, safe="")
    if plain == identity and len(plain) <= 100:
        return plain
    return f"{plain[:60].replace('%', '_')}-{hashlib.sha256(identity.encode()).hexdigest()}"


def run_part(workflow_id: str, first_run_id: str) -> str:
    """What the names of a run's records begin with, before their number."""
    return f"{file_part(workflow_id)}-{first_run_id}"


def _claim_name(batch_id: str) -> str:
    return f"claims/{file_part(batch_id)}.json"


def _folder(api_key: str, count: int, ids_sha256: str) -> str:
    return f"submissions/{api_key}/{count}-{ids_sha256}/"


def _intent_name(who: Submitter, number: int) -> str:
    run = run_part(who.workflow_id, who.first_run_id)
    return f"{_folder(who.api_key, who.count, who.ids_sha256)}{run}-{number}.json"


def _outcome_name(intent_name: str) -> str:
    return f"{intent_name.removesuffix('.json')}.outcome.json"


def _intents_among(names: Sequence[str]) -> Iterable[str]:
    return (name for name in names if name.endswith(".json") and not name.endswith(".outcome.json"))


def _json(record: Boundary) -> bytes:
    return record.model_dump_json().encode()
