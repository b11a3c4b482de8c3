"""Results that landed: finding them in the store by batch or by run, and reading their lines."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from message_batches.errors import MessageBatchesError, RequestsNotFound
from message_batches.jsonl import Splitter
from message_batches.models import BatchOutput, Landed
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import Ledger, Record

_UNVERIFIED = "unverified"


class ResultsNotFound(MessageBatchesError):
    """There are no results to show, or they are not in this store."""


@dataclass(frozen=True)
class Publication:
    """Landed results, and which requests they were checked against."""

    landed: Landed
    manifest_sha256: str | None

    @property
    def manifest_name(self) -> str | None:
        """The requests in the store."""
        return f"manifests/{self.manifest_sha256}.jsonl" if self.manifest_sha256 else None


async def of_batch(store: Store, batch_id: str) -> list[Publication]:
    """What was published of a batch's results, the checked ones first."""
    folder = f"results/{quote(batch_id, safe='')}/"
    found = []
    for name in await store.names(folder):
        if name.endswith(".json") and (content := await store.read(name)):
            checked_against = name.removeprefix(folder).removesuffix(".json")
            landed = Landed.model_validate_json(content)
            found.append(Publication(landed, None if checked_against == _UNVERIFIED else checked_against))
    return sorted(found, key=lambda publication: not publication.landed.verified)


async def of_output(store: Store, output: BatchOutput) -> Publication:
    """A run's own results, as they are in the store."""
    for publication in await of_batch(store, output.batch_id):
        if publication.landed.results_file.uri == output.results_file.uri:
            return publication
    try:
        store.name(output.results_file.uri)
    except RequestsNotFound as error:
        raise _elsewhere(store, output.results_file.uri) from error
    raise _gone(store, output.results_file.uri)


async def of_records(store: Store, records: list[Record]) -> Publication | None:
    """The results of the last batch that a run's own records name."""
    for record in reversed(records):
        batch_id = record.outcome.batch_id if record.outcome else None
        for publication in await of_batch(store, batch_id) if batch_id else []:
            if publication.manifest_sha256 == record.intent.sha256:
                return publication
    return None


async def of_past_run(store: Store, workflow_id: str) -> Publication | None:
    """The results of a run that Temporal no longer knows."""
    records = await Ledger(store).records_of({workflow_id})
    return await of_records(store, records.get(workflow_id, []))


async def chunks(store: Store, uri: str) -> AsyncIterator[bytes]:
    """A landed file from the store; `ResultsNotFound` if it is not there."""
    try:
        async for chunk in store.stream(store.name(uri)):
            yield chunk
    except FileNotFoundError as error:
        raise _gone(store, uri) from error
    except RequestsNotFound as error:
        raise _elsewhere(store, uri) from error


def _gone(store: Store, uri: str) -> ResultsNotFound:
    return ResultsNotFound(
        f"{uri} is gone from this store, {store.uri('')}: it was purged, or removed by other means. The API keeps "
        "results for 29 days after their batch was created"
    )


def _elsewhere(store: Store, uri: str) -> ResultsNotFound:
    return ResultsNotFound(
        f"{uri} is outside this store, {store.uri('')}: set MESSAGE_BATCHES_STORE to the worker's store"
    )


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a file in pieces, without their line feeds."""
    splitter = Splitter()
    async for piece in pieces:
        for line in splitter.feed(piece):
            yield line
    for line in splitter.end():
        yield line


async def first_lines(store: Store, uri: str, count: int) -> list[bytes]:
    """The first lines of a landed file."""
    found: list[bytes] = []
    async for line in lines(chunks(store, uri)):
        found.append(line)
        if len(found) == count:
            break
    return found
