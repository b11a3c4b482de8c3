"""The walk of several runs beside a second account, whose server answers anything: the first one's are as they were.

The tenant's runs use the first account's batch ids, in the API's calls and by its server's answers; whatever is read or
written for it is under its own account, and all that the first account's runs land is of their own server.
"""

import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from temporalio.exceptions import ApplicationError

from activities.batch import MessageBatchActivities
from activities.models import AdoptInput, BatchRef, DeleteInput, RecordOutcomeInput, RetrieveInput, VerifyCandidateInput
from message_batches.api.models import ApiProfile, BatchPage, MessageBatch, RequestCounts
from message_batches.errors import ApiError, BatchNotFound, ReplyLost, RequestRefused
from message_batches.requests.manifest import write_inline_manifest
from message_batches.result_models import LandedResults
from message_batches.results import reader
from message_batches.storage.groups import parse_path
from message_batches.storage.interface import StoredObject
from message_batches.storage.submission_records import BatchClaim
from tests.exhaustive.properties.account import Clock, Made, MemoryStore, ModelAccount
from tests.exhaustive.properties.runs import PROFILE, PostConditions, Run
from tests.exhaustive.properties.test_several_runs import CONDITIONS, OTHERS, OURS, SeveralRuns
from workflows.submission.commands import Done

TENANT = ApiProfile(api_key="team-a")
FORGED = "forged"
MOST_TENANTS = 3
OF_REQUESTS = "manifests"
"""The folder that callers fill, and no answer: each object is named by its own content."""


class HostileAccount(ModelAccount):
    """A server that answers anything: the other account's ids, forged lines, errors; by a seed."""

    def __init__(self, clock: Clock, other: ModelAccount, seed: int) -> None:
        super().__init__(clock)
        self._other = other
        self._random = random.Random(seed)

    def some_id(self) -> str:
        """Return the id of one of the other account's batches, if it has any, or a made-up one."""
        return self._random.choice([*(made.id for made in self._other.batches), "msgbatch_001", "msgbatch_made_up"])

    def make(self, by: str, ids: tuple[str, ...], *, lag: timedelta, processing: timedelta) -> Made:
        """Answer a POST with some batch's id."""
        made = Made(self.some_id(), by, ids, self.clock.at_the_api, self.clock.now, self.clock.now)
        self.batches.append(made)
        return made

    async def list(self, *, limit: int, after_id: str | None = None) -> BatchPage:
        """Return some batches, now and then in a list without an end."""
        self._may_fail()
        data = tuple(self._some_batch(self.some_id()) for _ in range(self._random.randint(0, 4)))
        return BatchPage(data=data, has_more=self._random.random() < 0.1, date=self.clock.at_the_api)

    async def retrieve(self, batch_id: str) -> MessageBatch:
        """Return some batch."""
        self._may_fail()
        return self._some_batch(self._random.choice([batch_id, self.some_id()]))

    async def cancel(self, batch_id: str) -> MessageBatch:
        """Return some batch."""
        return await self.retrieve(batch_id)

    async def delete(self, batch_id: str) -> None:
        """Say that it is deleted."""
        self._may_fail()

    @asynccontextmanager
    async def results(self, batch_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Return forged results."""
        self._may_fail()
        ids = self._random.choice([OURS, OTHERS, OURS[:2], (*OURS, "d-1")])
        lines = self.lines_of(Made(FORGED, FORGED, ids, self.clock.now, self.clock.now, self.clock.now))

        async def arriving() -> AsyncIterator[bytes]:
            for line in lines:
                yield line
            self._may_fail()

        yield arriving()

    def _some_batch(self, batch_id: str) -> MessageBatch:
        made_at = self.clock.at_the_api - timedelta(minutes=self._random.choice([0, 0, 1, 30]))
        ended = self._random.random() < 0.8
        return MessageBatch(
            id=batch_id,
            processing_status="ended" if ended else "in_progress",
            request_counts=RequestCounts(expired=3) if ended else RequestCounts(processing=3),
            created_at=made_at,
            expires_at=made_at + timedelta(hours=24),
        )

    def _may_fail(self) -> None:
        if self._random.random() < 0.3:
            kinds: Sequence[type[ApiError]] = (BatchNotFound, BatchNotFound, ReplyLost, RequestRefused)
            raise self._random.choice(kinds)("made up", status=self._random.choice([404, 410, 500]))


class WatchedStore(MemoryStore):
    """A store that refuses to be used for one account where another one's answers are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.used_for = PROFILE

    async def create(self, name: str, data: bytes) -> bool:
        """Put an object if there is none."""
        self._check(name, writes=True)
        return await super().create(name, data)

    async def write(self, name: str, chunks: AsyncIterable[bytes] | Iterable[bytes]) -> None:
        """Put an object."""
        self._check(name, writes=True)
        await super().write(name, chunks)

    async def read(self, name: str) -> bytes | None:
        """Return an object, or None."""
        self._check(name)
        return await super().read(name)

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """Yield an object in one piece."""
        self._check(name)
        async for chunk in super().stream(name):
            yield chunk

    async def names(self, prefix: str) -> list[str]:
        """Return the names that begin with the prefix."""
        self._check(prefix)
        return await super().names(prefix)

    async def listing(self, folder: str) -> AsyncIterator[Sequence[StoredObject]]:
        """Yield all objects in a folder."""
        self._check(folder)
        async for page in super().listing(folder):
            yield page

    async def remove(self, name: str) -> None:
        """Remove an object."""
        self._check(name, writes=True)
        await super().remove(name)

    def _check(self, name: str, *, writes: bool = False) -> None:
        folder, _, rest = name.partition("/")
        key = self.used_for.api_key
        own = rest.startswith(f"{key}/" if folder == "submissions" else f"{key}-")
        # The list of accounts is every run's to read.
        assert own or folder == OF_REQUESTS or (folder == "accounts" and not writes), f"{name}, for {key}"


class TwoAccounts(SeveralRuns):
    """Runs of one account, as in `SeveralRuns`, and a tenant's beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.tenants: list[Run] = []
        self.landed: dict[str, LandedResults] = {}

    @initialize(ahead=st.integers(-20, 20), seed=st.integers(0, 2**32))
    def begin(self, ahead: int, seed: int = 0) -> None:
        super().begin(ahead)
        self.store = WatchedStore()
        self.world.use(self.store)
        self.hostile = HostileAccount(self.world.clock, self.world.account, seed)
        self.world.accounts[TENANT.api_key] = self.hostile
        self.steps = MessageBatchActivities(self.world.api, self.store)

    @precondition(lambda self: len(self.tenants) < MOST_TENANTS)
    @rule(ids=st.sampled_from([OURS, OURS, OTHERS]), same_id=st.booleans())
    def start_tenant(self, ids: tuple[str, ...], same_id: bool) -> None:
        self.store.used_for = TENANT
        items = [{"custom_id": custom_id, "params": {}} for custom_id in ids]
        manifest = self.runner.run(write_inline_manifest(self.store, items))
        number = len(self.tenants)
        # A workflow id may be used again, by a run with another key too.
        self.tenants.append(Run(f"run-{number}" if same_id else f"tenant-{number}", ids, manifest, TENANT))
        self.store.used_for = PROFILE

    @precondition(lambda self: self.tenants)
    @rule(data=st.data(), conditions=CONDITIONS, count=st.integers(1, 12))
    def step_tenant(self, data: st.DataObject, conditions: PostConditions, count: int) -> None:
        run = data.draw(st.sampled_from(self.tenants))
        self.store.used_for = TENANT
        for _ in range(count):
            with suppress(ApplicationError):
                self.world.step(run, conditions)
        self.store.used_for = PROFILE

    @precondition(lambda self: self.tenants)
    @rule(data=st.data(), with_requests=st.booleans(), attached=st.booleans())
    def let_tenant_use_the_ids(self, data: st.DataObject, with_requests: bool, attached: bool) -> None:
        """Call every activity for each batch of the other account, as runs that attach, adopt, cancel and land do."""
        run = data.draw(st.sampled_from(self.tenants))
        for made in [*self.world.account.batches]:
            self._use(run, made.id, data, with_requests=with_requests, attached=attached)

    def _use(self, run: Run, batch_id: str, data: st.DataObject, *, with_requests: bool, attached: bool) -> None:
        claim = BatchClaim(owner=run.id, first_run_id=f"{run.id}-first", attached=attached)
        ref = BatchRef(profile=TENANT, batch_id=batch_id, store_id="memory")
        recorded = RecordOutcomeInput(
            profile=TENANT, submitter=None, claim=claim, store_id="memory", numbers=(), batch_id=batch_id
        )
        adopted = AdoptInput(profile=TENANT, batch_id=batch_id, claim=claim, store_id="memory")
        verified = VerifyCandidateInput(profile=TENANT, batch_id=batch_id, manifest=run.manifest)
        submission = self.world.activities
        calls: list[Callable[[], object]] = [
            lambda: self.world.call(self.steps.poll_batch_status, ref),
            lambda: self.world.call(self.steps.cancel_batch, ref),
            lambda: self.world.call(submission.record_outcome, recorded),
            lambda: self.world.call(submission.find_batch_to_adopt, adopted),
            lambda: self.world.call(submission.verify_candidate, verified),
            lambda: self._land_and_delete(run, TENANT, batch_id, claim, with_requests=with_requests),
        ]
        self.store.used_for = TENANT
        for call in data.draw(st.permutations(calls)):
            with suppress(ApplicationError):
                call()
        self.store.used_for = PROFILE

    @rule(data=st.data())
    def land(self, data: st.DataObject) -> None:
        """Land a batch that has ended, or once more."""
        if ended := [run for run in self.all if self.has_own(run) and self.has_results(self.batch_of(run))]:
            self.has_landed_its_own(data.draw(st.sampled_from(ended)))

    def has_own(self, run: Run) -> bool:
        """Return whether a run has found the batch that it has sent; an operator may have given it another."""
        return isinstance(run.end, Done) and not self.resolved(run.ids)

    def has_results(self, batch: Made) -> bool:
        return max(batch.ends, batch.visible) <= self.world.clock.now

    def batch_of(self, run: Run) -> Made:
        assert isinstance(run.end, Done)
        return self.world.account.named(run.end.batch_id)

    @invariant()
    def groups_of_the_accounts_are_apart(self) -> None:
        by_key: dict[str, set[str]] = {PROFILE.api_key: set(), TENANT.api_key: set()}
        for name in self.world.store.objects:
            parsed = parse_path(name)
            if parsed and parsed.key.group == "batch":
                by_key[name.split("/")[1].rpartition("-")[0]].add(parsed.key.name)
        assert not by_key[PROFILE.api_key] & by_key[TENANT.api_key]

    def has_landed_its_own(self, run: Run) -> None:
        """Check that a run lands, whatever the tenant has done, and all that anybody finds is its own server's."""
        made = self.batch_of(run)
        landed = self._land(run, PROFILE, made.id, with_requests=True)
        found = self.runner.run(reader.of_key(self.world.store, made.id, PROFILE.api_key))

        for each in (landed, *(publication.landed for publication in found)):
            content = self.world.store.objects[self.world.store.name(each.results_file.uri)]
            assert content == b"".join(self.world.account.lines_of(made))
        assert self.landed.setdefault(made.id, landed) == landed

    def has_paid_once_or_reports_it(self, run: Run) -> None:
        super().has_paid_once_or_reports_it(run)
        if self.has_own(run):
            self.has_landed_its_own(run)
            batch = self.batch_of(run)
            given = self._deletion(run, PROFILE, self.landed[batch.id], run.submitter.claim)
            self.world.call(self.steps.delete_batch, given)
            assert batch.deleted
            self.has_landed_its_own(run)

    def _land(self, run: Run, profile: ApiProfile, batch_id: str, *, with_requests: bool) -> LandedResults:
        given = RetrieveInput(
            profile=profile,
            batch_id=batch_id,
            store_id="memory",
            manifest=run.manifest if with_requests else None,
            expected_count=3,
            keep_partial=not with_requests,
        )
        return self.world.call(self.steps.retrieve_results, given)

    def _land_and_delete(
        self, run: Run, profile: ApiProfile, batch_id: str, claim: BatchClaim, *, with_requests: bool
    ) -> None:
        landed = self._land(run, profile, batch_id, with_requests=with_requests)
        self.world.call(self.steps.delete_batch, self._deletion(run, profile, landed, claim))

    def _deletion(self, run: Run, profile: ApiProfile, landed: LandedResults, claim: BatchClaim) -> DeleteInput:
        return DeleteInput(
            profile=profile,
            batch_id=landed.batch_id,
            store_id="memory",
            results_file=landed.results_file,
            claim=claim,
        )


TestTwoAccounts = pytest.mark.slow(TwoAccounts.TestCase)
TestTwoAccounts.settings = settings(max_examples=settings().max_examples)
