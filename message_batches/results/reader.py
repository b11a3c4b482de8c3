"""Landed results: finding them in the store by batch or by run, reading their lines, sorting out the failed ones."""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field

import msgspec

from message_batches.errors import ErrorCause, RequestsNotFound, RunError, cause_of
from message_batches.jsonl import Splitter
from message_batches.models import BatchOutput, LandedResults
from message_batches.results.parser import ResultLine, read_result
from message_batches.storage import paths
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecords


class ResultsNotFound(RunError):
    """There are no results to show, or they are not in this store."""


@dataclass(frozen=True)
class Publication:
    """Landed results, and which requests they were checked against."""

    landed: LandedResults
    manifest_sha256: str | None

    @property
    def manifest_name(self) -> str | None:
        """The name of the requests in the store."""
        return paths.requests_path(self.manifest_sha256) if self.manifest_sha256 else None


@dataclass
class FailedRequests:
    """The custom_ids without a reply: expired, canceled or errored.

    Attributes:
        retryable: worth sending again as they are.
        invalid: to be corrected first.
    """

    retryable: set[str] = field(default_factory=set)
    invalid: set[str] = field(default_factory=set)

    def add(self, result: ResultLine) -> None:
        """Add a result, unless it succeeded."""
        if result.type == "succeeded":
            return
        to_correct = result.error and cause_of(*result.error, result.error_code) is ErrorCause.REQUEST
        (self.invalid if to_correct else self.retryable).add(result.custom_id)


async def of_batch(store: Store, batch_id: str) -> list[Publication]:
    """Return the published results of a batch, the verified ones first."""
    found = []
    for path in await store.names(f"{paths.results_folder(batch_id)}/"):
        if path.endswith(".json") and (content := await store.read(path)):
            landed = LandedResults.model_validate_json(content)
            found.append(Publication(landed, paths.manifest_sha256_of(path)))
    return sorted(found, key=lambda publication: not publication.landed.verified)


async def of_output(store: Store, output: BatchOutput) -> Publication:
    """Return a run's own results, as they are in the store."""
    for publication in await of_batch(store, output.batch_id):
        if publication.landed.results_file.uri == output.results_file.uri:
            return publication
    try:
        store.name(output.results_file.uri)
    except RequestsNotFound as error:
        raise _elsewhere(store, output.results_file.uri) from error
    raise _gone(store, output.results_file.uri)


async def of_past_run(store: Store, workflow_id: str) -> Publication | None:
    """Return the results of a run that Temporal no longer knows: those of the last batch that its records name."""
    records = await SubmissionRecords(store).records_of_workflows({workflow_id})
    for record in reversed(records.get(workflow_id, [])):
        batch_id = record.outcome.batch_id if record.outcome else None
        for publication in await of_batch(store, batch_id) if batch_id else []:
            if publication.manifest_sha256 == record.intent.sha256:
                return publication
    return None


async def chunks(store: Store, uri: str) -> AsyncIterator[bytes]:
    """Read a file from the store; `ResultsNotFound` if it is not there."""
    try:
        async for chunk in store.stream(store.name(uri)):
            yield chunk
    except FileNotFoundError as error:
        raise _gone(store, uri) from error
    except RequestsNotFound as error:
        raise _elsewhere(store, uri) from error


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split pieces of a file into lines, without their line feeds."""
    splitter = Splitter()
    async for piece in pieces:
        for line in splitter.feed(piece):
            yield line
    for line in splitter.end():
        yield line


async def first_lines(store: Store, uri: str, count: int) -> list[bytes]:
    """Return the first lines of a file in the store."""
    found: list[bytes] = []
    async for line in lines(chunks(store, uri)):
        found.append(line)
        if len(found) == count:
            break
    return found


async def failed_requests(results: AsyncIterable[bytes]) -> FailedRequests:
    """Sort out the requests without a reply from the lines of a results file."""
    failed = FailedRequests()
    async for line in results:
        if line.strip():
            failed.add(read_result(line, landed=True))
    return failed


class _Request(msgspec.Struct):
    custom_id: str


_decode = msgspec.json.Decoder(_Request).decode


async def requests_of(manifest: AsyncIterable[bytes], ids: set[str]) -> AsyncIterator[bytes]:
    """Yield the lines of a manifest for these custom_ids, byte for byte."""
    async for line in manifest:
        if line and _decode(line).custom_id in ids:
            yield line + b"\n"


def _gone(store: Store, uri: str) -> ResultsNotFound:
    return ResultsNotFound(
        f"{uri} is gone from this store, {store.uri('')}: it was purged, or removed by other means. The API keeps "
        "results for 29 days after their batch was created"
    )


def _elsewhere(store: Store, uri: str) -> ResultsNotFound:
    return ResultsNotFound(
        f"{uri} is outside this store, {store.uri('')}: set MESSAGE_BATCHES_STORE to the worker's store"
    )
