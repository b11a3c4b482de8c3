"""The records of submissions in the store: intents, their outcomes, and which run owns a batch.

Every record is put once and never changed, so that no worker, not even one that was suspended for hours, can undo what
another has recorded.
"""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from pydantic import AwareDatetime, ValidationError

from message_batches.api.keys import DEFAULT_KEY, Account
from message_batches.errors import StoreUnavailable
from message_batches.models import Anchor, Manifest
from message_batches.serialization import ContractModel, Seconds
from message_batches.storage import paths
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.interface import Store

_Kept = TypeVar("_Kept", bound=ContractModel)
CLOCK_MARGIN = timedelta(hours=1)
"""The most by which this machine's clock and the API's may differ when a batch is compared with an intent."""

_READ_AT_ONCE = 50


class Submitter(ContractModel):
    """A run, over resets, retries and continue-as-new, and the requests that it submits under a key."""

    api_key: str
    count: int
    ids_sha256: str
    workflow_id: str
    first_run_id: str

    @property
    def claim(self) -> "BatchClaim":
        """The claim that it puts on its own batch."""
        return BatchClaim(owner=self.workflow_id, first_run_id=self.first_run_id)

    @property
    def folder(self) -> str:
        """The folder of the records of these requests."""
        return paths.submissions_folder(self.api_key, self.count, self.ids_sha256)

    def intent_path(self, number: int) -> str:
        """Build the path of its intent of that number."""
        return paths.intent_path(self.folder, paths.run_part(self.workflow_id, self.first_run_id), number)

    @classmethod
    def of(cls, manifest: Manifest, *, api_key: str, workflow_id: str, first_run_id: str) -> "Submitter":
        """Build the submitter of a manifest."""
        return cls(
            api_key=api_key,
            count=manifest.count,
            ids_sha256=manifest.ids_sha256,
            workflow_id=workflow_id,
            first_run_id=first_run_id,
        )


class SubmissionIntent(ContractModel):
    """A record written before a POST: without an outcome, that POST may have created a batch."""

    workflow_id: str
    first_run_id: str
    number: int
    anchor: Anchor
    sha256: str
    time: AwareDatetime
    timeout: Seconds
    nonce: str
    """Distinguishes the writer's own intent, put by a call that the store retried, from an earlier one."""
    content_sha256: str = ""
    """Of the requests however they are written; empty if an older version wrote this."""

    def of_same_requests(self, other: "SubmissionIntent | Manifest") -> bool:
        """Return whether both are of the same requests, byte for byte or in another spelling."""
        return self.sha256 == other.sha256 or "" != self.content_sha256 == other.content_sha256


class SubmissionOutcome(ContractModel):
    """The outcome of a POST: this batch, or none (`created` says how certain that is)."""

    batch_id: str | None = None
    created: bool | None = None
    """False: certainly not created. None with no batch: not found in the list through the quiet period."""
    yielded: bool = False
    """Nothing was sent because another POST of the same requests was under way."""


class SubmissionRecord(ContractModel):
    """An intent and its outcome, as far as that is recorded, with the name of the key."""

    intent: SubmissionIntent
    outcome: SubmissionOutcome | None = None
    api_key: str = DEFAULT_KEY

    @property
    def may_have_created(self) -> bool:
        """Whether this POST may have created a batch that no record names."""
        return self.outcome is None or (self.outcome.batch_id is None and self.outcome.created is None)

    @property
    def created_nothing(self) -> bool:
        """Whether it is certain that this POST created no batch."""
        return self.outcome is not None and self.outcome.created is False


class BatchClaim(ContractModel):
    """The owner of a batch: a workflow id, and its execution, since an id may be used again.

    Attributes:
        attached: a run that was given the batch's id took it over: another run may still be the one that sent it.
    """

    owner: str
    first_run_id: str
    attached: bool = False

    def of_same_run(self, other: "BatchClaim") -> bool:
        """Return whether both claims are by the same run."""
        return (self.owner, self.first_run_id) == (other.owner, other.first_run_id)


class BatchOwner(NamedTuple):
    """A run that has claimed a batch, and the name of its key."""

    api_key: str
    workflow_id: str


class SubmissionRecords:
    """The records of submissions and claims in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._accounts = AccountRecords(store)

    async def record_intent(self, submitter: Submitter, intent: SubmissionIntent) -> SubmissionRecord | None:
        """Write an intent; return None if it is new, else the earlier intent or the outcome that is already recorded.

        A run that has given up on a POST leaves an outcome behind, and a worker that is late with the intent finds it.
        """
        path = submitter.intent_path(intent.number)
        created = await self._store.create(path, _json(intent))
        found = await self.read_record(path)
        if found is None:
            raise StoreUnavailable(f"{self._store.uri(path)} cannot be read; nothing was sent")
        new = created or found.intent.nonce == intent.nonce
        return None if new and found.outcome is None else found

    async def outcome(self, submitter: Submitter, number: int) -> SubmissionOutcome | None:
        """Return the recorded outcome of a POST, None if there is none yet."""
        return await self._read(paths.outcome_path(submitter.intent_path(number)), SubmissionOutcome)

    async def record_outcome(self, submitter: Submitter, number: int, outcome: SubmissionOutcome) -> None:
        """Write the outcome of a POST, unless one is recorded already."""
        await self._store.create(paths.outcome_path(submitter.intent_path(number)), _json(outcome))

    async def claim(self, account: Account, batch_id: str, claim: BatchClaim) -> BatchClaim:
        """Claim a batch of an account, and return the claim that holds: another run's if that was first."""
        if (taken := await self.claim_of(account, batch_id)) and not taken.of_same_run(claim) and not taken.attached:
            return taken
        path = paths.claim_path(await self._accounts.record(account), batch_id)
        if await self._store.create(path, _json(claim)):
            return claim
        holds = await self._read(path, BatchClaim)
        if holds is None:
            raise StoreUnavailable(f"{self._store.uri(path)} was removed while it was read: try again")
        return holds

    async def claim_of(self, account: Account, batch_id: str) -> BatchClaim | None:
        """Return the claim on a batch, None if there is none.

        That of the run which sent it goes before one that attached, also where it was sent with another key to the same
        server: there a batch id is one batch.
        """
        own = await self._read(paths.claim_path(account.part, batch_id), BatchClaim)
        if own and not own.attached:
            return own
        for other in await self._accounts.all():
            if other.base_url == account.base_url and other.part != account.part:
                claim = await self._read(paths.claim_path(other.part, batch_id), BatchClaim)
                if claim and not claim.attached:
                    return claim
        return own

    async def owners_of(self, batch_id: str, api_key: str | None = None) -> list[BatchOwner]:
        """Return the runs that have claimed a batch: as a rule one of each key, more where its base URL changed."""
        found = []
        for account in await self._accounts.all(api_key):
            if claim := await self._read(paths.claim_path(account.part, batch_id), BatchClaim):
                found.append(BatchOwner(account.api_key, claim.owner))
        return list(dict.fromkeys(found))

    async def claimed_by(self, workflow_id: str) -> dict[str, str]:
        """Return the batches that a workflow id has claimed, with the name of the key; reads every claim."""
        found: dict[str, str] = {}
        for account in await self._accounts.all():
            names = await self._store.names(f"{paths.claims_folder(account.part)}/")
            for start in range(0, len(names), _READ_AT_ONCE):
                part = names[start : start + _READ_AT_ONCE]
                claims = await asyncio.gather(*(self._read(name, BatchClaim) for name in part))
                found |= {
                    paths.claimed_batch(name): account.api_key
                    for name, claim in zip(part, claims, strict=True)
                    if claim and claim.owner == workflow_id
                }
        return found

    async def own_and_other_posts(self, submitter: Submitter) -> tuple[list[SubmissionRecord], list[SubmissionRecord]]:
        """Return the POSTs of these custom_ids under this key: the run's own, and those of other runs."""
        own: list[SubmissionRecord] = []
        others: list[SubmissionRecord] = []
        run = (submitter.workflow_id, submitter.first_run_id)
        for record in await self._records_in(submitter.folder):
            (own if (record.intent.workflow_id, record.intent.first_run_id) == run else others).append(record)
        return own, others

    async def posts_of(self, submitter: Submitter) -> tuple[list[SubmissionRecord], list[SubmissionRecord]]:
        """Return the POSTs of these custom_ids under this workflow id: of this run, and of other runs."""
        names = await self._store.names(f"{submitter.folder}/")
        found = [await self.read_record(path) for path in paths.intents_among(names, {submitter.workflow_id})]
        records = [record for record in found if record]
        mine = [record for record in records if record.intent.first_run_id == submitter.first_run_id]
        return mine, [record for record in records if record not in mine]

    async def records_of_workflow(
        self, manifest: Manifest, *, workflow_id: str, api_key: str | None = None
    ) -> list[SubmissionRecord]:
        """Return every POST of these requests that a workflow id ever intended, with one key or any, oldest first."""
        keys = [api_key] if api_key else sorted({account.api_key for account in await self._accounts.all()})
        folders = [paths.submissions_folder(key, manifest.count, manifest.ids_sha256) for key in keys]
        records = [record for folder in folders for record in await self._records_in(folder)]
        return sorted((r for r in records if r.intent.workflow_id == workflow_id), key=lambda r: r.intent.time)

    async def intent_of(self, manifest: Manifest, *, api_key: str, batch_id: str) -> SubmissionIntent | None:
        """Return the intent by which a batch of these custom_ids was created, None if the store has no record of it."""
        records = await self._records_in(paths.submissions_folder(api_key, manifest.count, manifest.ids_sha256))
        created = (r.intent for r in records if r.outcome and r.outcome.batch_id == batch_id)
        return next(created, None)

    async def records_of_workflows(self, workflow_ids: Collection[str]) -> dict[str, list[SubmissionRecord]]:
        """Return every POST of any requests that these workflow ids ever intended, oldest first.

        Lists all submissions in the store once.
        """
        intents = paths.intents_among(await self._store.names(f"{paths.SUBMISSIONS}/"), workflow_ids)
        read = [await self.read_record(path) for path in intents]
        found: dict[str, list[SubmissionRecord]] = {}
        for record in sorted((r for r in read if r), key=lambda r: r.intent.time):
            if record.intent.workflow_id in workflow_ids:
                found.setdefault(record.intent.workflow_id, []).append(record)
        return found

    async def read_record(self, path: str) -> SubmissionRecord | None:
        """Read the record whose intent is at a path; None if there is no intent."""
        intent = await self._read(path, SubmissionIntent)
        if intent is None:
            return None
        outcome = await self._read(paths.outcome_path(path), SubmissionOutcome)
        return SubmissionRecord(intent=intent, outcome=outcome, api_key=paths.key_of_intent(path))

    async def _records_in(self, folder: str) -> list[SubmissionRecord]:
        intents = paths.intents_among(await self._store.names(f"{folder}/"))
        found = [await self.read_record(path) for path in intents]
        return [record for record in found if record]

    async def _read(self, path: str, kind: type[_Kept]) -> _Kept | None:
        """Read a record; a damaged one is an error, since it is unknown whether it stands for a paid batch."""
        content = await self._store.read(path)
        try:
            return None if content is None else kind.model_validate_json(content)
        except ValidationError as error:
            size = f"{len(content or b''):,} bytes"
            raise StoreUnavailable(
                f"{self._store.uri(path)} is damaged: its {size} are not a {kind.__name__}. Restore it from a backup"
            ) from error


def may_stem_from(record: SubmissionRecord, created_at: datetime) -> bool:
    """Return whether a POST may have created a batch of that time."""
    return created_at <= record.intent.time + record.intent.timeout + CLOCK_MARGIN and (
        created_at >= record.intent.anchor.created_at - CLOCK_MARGIN
    )


def _json(record: ContractModel) -> bytes:
    return record.model_dump_json().encode()
