"""Landed results: finding them in the store by batch or by run, reading their lines."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from pydantic import ValidationError

from message_batches.concurrency import run_in_thread
from message_batches.contract import NextAction
from message_batches.errors import RequestsNotFound, RunError, StoreUnavailable
from message_batches.jsonl import Splitter, first_of
from message_batches.models import BatchOutput
from message_batches.result_models import LandedResults, ResultsFile
from message_batches.results.parser import ResultLine, read_result
from message_batches.storage import groups, paths
from message_batches.storage.accounts import AccountRecords
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecords


class ResultsNotFound(RunError):
    """There are no results to show, or they are not in this store."""


class ResultsChanged(ResultsNotFound):
    """The file of landed results, or of their requests, is not what it was."""


@dataclass(frozen=True)
class Publication:
    """Landed results, and which requests they were checked against.

    Attributes:
        file_there: whether their file is in the store, and as large as it was.
    """

    landed: LandedResults
    manifest_sha256: str | None
    file_there: bool = True

    @property
    def manifest_name(self) -> str | None:
        """The name of the requests in the store."""
        return paths.requests_path(self.manifest_sha256) if self.manifest_sha256 else None


async def read_publication(store: Store, path: str) -> LandedResults | None:
    """Read the publication at a path; None if there is none."""
    content = await store.read(path)
    try:
        return None if content is None else LandedResults.model_validate_json(content)
    except ValidationError as error:
        raise StoreUnavailable(f"{store.uri(path)} is damaged: remove it to have the results landed again") from error


async def of_batch(store: Store, batch_id: str, accounts: Iterable[str]) -> list[Publication]:
    """Return the published results of a batch: those whose file is there first, and of these the verified ones.

    Args:
        store: where they are.
        batch_id: the batch.
        accounts: of which it may be, as parts of a path: those of one key, never all.
    """
    found = []
    for account in accounts:
        sizes = await _sizes(store, paths.results_folder(account, batch_id))
        for path in sorted(sizes):
            if path.endswith(".json") and (landed := await read_publication(store, path)):
                there = _is_among(sizes, store, landed.results_file)
                found.append(Publication(landed, groups.manifest_sha256_of(path), there))
    return sorted(found, key=lambda publication: (not publication.file_there, not publication.landed.verified))


async def of_key(store: Store, batch_id: str, api_key: str) -> list[Publication]:
    """Return the published results of a batch, as `of_batch`, wherever the workers use the key of that name."""
    return await of_batch(store, batch_id, [account.part for account in await AccountRecords(store).all(api_key)])


async def landed_of_batch(
    store: Store, batch_id: str, api_key: str | None = None, *, manifest_sha256: str | None = None
) -> Publication | None:
    """Return the landed results of a batch, those of these requests first; None if there are none.

    Raises `ResultsNotFound` where they were landed and their file is gone, or where no key is given and several have
    landed or claimed a batch of that id: they may be different batches.
    """
    by_key = {}
    for key in [api_key] if api_key else sorted({account.api_key for account in await AccountRecords(store).all()}):
        if published := await of_key(store, batch_id, key):
            by_key[key] = published
    owners = await SubmissionRecords(store).owners_of(batch_id) if by_key and not api_key else []
    if len(keys := sorted({*by_key, *(owner.api_key for owner in owners)})) > 1:
        raise ResultsNotFound(
            f"{batch_id} is known under the keys {' and '.join(keys)}, for which it may be different batches, with "
            f"results under {' and '.join(by_key)}: name the run instead"
        )
    found = next(iter(by_key.values()), [])
    for publication in sorted(
        found, key=lambda each: each.manifest_sha256 != (manifest_sha256 or each.manifest_sha256)
    ):
        if publication.file_there:
            return publication
    if found:
        raise await _missing(store, found[0].landed)
    return None


async def of_output(store: Store, output: BatchOutput) -> Publication:
    """Return a run's own results, as they are in the store, or what has been landed or checked of its batch since."""
    found = await beside(store, output)
    there = [publication for publication in found if publication.file_there]
    checked = bool(there) and there[0].landed.verified
    for publication in there:
        if publication.landed.results_file.uri == output.results_file.uri and (output.verified or not checked):
            return publication
    if not checked and await has_file(store, output.results_file):
        # The record that publishes it is gone, the file is not: what the run itself has said of it is as good.
        return Publication(LandedResults.model_validate(dict(output)), None)
    if there:
        return there[0]
    raise await _missing(store, output)


async def beside(store: Store, landed: LandedResults | BatchOutput) -> list[Publication]:
    """Return the published results of the batch whose results are given, of the same account."""
    account = account_of(store, landed)
    return await of_batch(store, landed.batch_id, [account] if account else [])


def account_of(store: Store, landed: LandedResults | BatchOutput) -> str | None:
    """Return the account that landed results are of; None if they are not in this store, or of an earlier version."""
    name = _name(store, landed.results_file)
    return groups.account_of_results(name) if name else None


async def has_file(store: Store, file: ResultsFile) -> bool:
    """Return whether the file of landed results is in the store, and as large as it was."""
    name = _name(store, file)
    return name is not None and _is_among(await _sizes(store, name.rpartition("/")[0]), store, file)


def is_elsewhere(store: Store, landed: LandedResults | BatchOutput) -> bool:
    """Return whether landed results are in another store than this one."""
    return _name(store, landed.results_file) is None


async def of_past_run(
    store: Store, workflow_id: str, batch_ids: Mapping[str, str | None] = MappingProxyType({})
) -> Publication | None:
    """Return what the store knows of a run without results in Temporal: the results of the last batch that it had.

    Args:
        store: that of the run.
        workflow_id: the run's.
        batch_ids: batches that are known to be its own, each with the name of its key if that is known; the others are
            those of its records and claims.
    """
    records = SubmissionRecords(store)
    submitted = (await records.records_of_workflows({workflow_id})).get(workflow_id, [])
    sent = {record.outcome.batch_id: record for record in submitted if record.outcome and record.outcome.batch_id}
    claimed = {} if sent or batch_ids else await records.claimed_by(workflow_id)
    keys = {**claimed, **batch_ids, **{batch_id: record.api_key for batch_id, record in sent.items()}}
    for batch_id in (*batch_ids, *reversed(sent), *claimed):
        owners = await records.owners_of(batch_id)
        api_key = keys[batch_id] or next((key for key, owner in owners if owner == workflow_id), None)
        sha256 = sent[batch_id].intent.sha256 if batch_id in sent else None
        if found := await landed_of_batch(store, batch_id, api_key, manifest_sha256=sha256):
            return found
    return None


async def chunks(store: Store, uri: str) -> AsyncIterator[bytes]:
    """Read a file from the store; `ResultsNotFound` if it is not there."""
    try:
        async for chunk in store.stream(store.name(uri)):
            yield chunk
    except FileNotFoundError as error:
        raise ResultsNotFound(_gone(store, uri)) from error
    except RequestsNotFound as error:
        raise ResultsNotFound(_elsewhere(store, uri)) from error


def results_in(store: Store, file: ResultsFile) -> AsyncIterator[bytes]:
    """Read landed results; `ResultsNotFound` if they are not there, `ResultsChanged` at the end of changed ones."""
    return unchanged(store, file.uri, file.sha256)


async def unchanged(store: Store, uri: str, sha256: str) -> AsyncIterator[bytes]:
    """Read a file from the store; `ResultsChanged` at the end if its bytes are not those of this hash."""
    digest = hashlib.sha256()
    async for chunk in chunks(store, uri):
        await run_in_thread(partial(digest.update, chunk))
        yield chunk
    if digest.hexdigest() != sha256:
        raise ResultsChanged(
            f"{uri} has changed since it was written: its sha256 is {digest.hexdigest()}, not {sha256}. {_RESTORE}"
        )


_RESTORE = "Restore it from a backup, or move it away and attach to the batch again, with its requests"


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split pieces of a file into lines, without their line feeds."""
    splitter = Splitter()
    async for piece in pieces:
        for line in splitter.feed(piece):
            yield line
    for line in splitter.end():
        yield line


class Pair(NamedTuple):
    """A result, its line, and the line of its request."""

    result: ResultLine
    line: bytes
    request: bytes


class _Request(msgspec.Struct):
    custom_id: str


decode_request = msgspec.json.Decoder(_Request).decode


async def pairs(results: AsyncIterator[bytes], requests: AsyncIterator[bytes]) -> AsyncIterator[Pair]:
    """Yield each result with its request, of files in the same order; `ResultsChanged` if they are not."""
    asked = lines(requests)
    async for line in lines(results):
        if line.strip():
            result, request = read_result(line, landed=True), await anext(asked, b"")
            if not request or decode_request(request).custom_id != result.custom_id:
                raise ResultsChanged(f"The result of {result.custom_id} is not where its request is. {_RESTORE}")
            yield Pair(result, line, request)
    async for _ in asked:
        raise ResultsChanged(f"There are fewer results than requests. {_RESTORE}")


async def first_lines(store: Store, landed: LandedResults | BatchOutput, count: int) -> list[bytes]:
    """Return the first of landed results; all are read, which alone shows that they are what was landed."""
    if not await has_file(store, landed.results_file):
        raise await _missing(store, landed)
    return await first_of(results_in(store, landed.results_file), count)


async def _sizes(store: Store, folder: str) -> dict[str, int]:
    """Return the sizes of what the store has of a batch's results, by name."""
    pages = store.listing(folder)
    return {stored.name: stored.bytes async for page in pages for stored in page}


def _is_among(sizes: Mapping[str, int], store: Store, file: ResultsFile) -> bool:
    return sizes.get(_name(store, file) or "") == file.bytes


def _name(store: Store, file: ResultsFile) -> str | None:
    try:
        return store.name(file.uri)
    except RequestsNotFound:
        return None


async def _missing(store: Store, landed: LandedResults | BatchOutput) -> ResultsNotFound:
    uri = landed.results_file.uri
    if is_elsewhere(store, landed):
        return ResultsNotFound(_elsewhere(store, uri))
    if isinstance(landed, BatchOutput) and landed.deleted:
        again = "Their batch was deleted at the provider once they had landed: only a backup of the store has them"
        return ResultsNotFound(f"{_gone(store, uri)}. {again}")
    kept = "The API keeps results for 29 days after their batch was created"
    account = account_of(store, landed)
    requests = {each.manifest_name for each in await beside(store, landed)} & {*await store.names("manifests/")}
    return ResultsNotFound(
        f"{_gone(store, uri)}. {kept}",
        NextAction.LAND_AGAIN,
        batch_id=landed.batch_id,
        api_key=paths.key_of(account) if account else None,
        requests_uri=store.uri(min(filter(None, requests))) if requests else None,
    )


def _gone(store: Store, uri: str) -> str:
    return f"{uri} is gone from this store, {store.uri('')}, or not whole: it was purged, or changed by other means"


def _elsewhere(store: Store, uri: str) -> str:
    return f"{uri} is outside this store, {store.uri('')}: set MESSAGE_BATCHES_STORE to the worker's store"
