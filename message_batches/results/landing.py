"""Landing: a batch's results are downloaded to scratch, checked, put in order, hashed, and published once.

Each attempt writes the lines to a path of its own; the first to finish puts the publication, which names that path. An
attach without requests and one with them have different publications: the first has verified less.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from message_batches.api.redaction import redact, repeats
from message_batches.concurrency import enter_in_thread, process_in_thread, run_in_thread
from message_batches.errors import ReplyLost, ResultsIncomplete, StoreUnavailable
from message_batches.models import Manifest
from message_batches.prices import PriceList
from message_batches.requests.manifest import read_ids
from message_batches.result_models import LandedResults, ResultsFile
from message_batches.results.contradictions import contradictions
from message_batches.results.expectations import read_expected
from message_batches.results.reader import has_file, read_publication
from message_batches.results.validation import ResultCollector
from message_batches.serialization import MAX_INLINE_DEPTH, nested_deeper_than
from message_batches.spans import span
from message_batches.storage.interface import Store
from message_batches.storage.paths import new_results_path, publication_path
from message_batches.storage.scratch import scratch_file

MAX_INLINE_RESULTS_BYTES = 256 * 1024


async def find_landed(store: Store, account: str, batch_id: str, manifest: Manifest | None) -> LandedResults | None:
    """Return the published results of an account's batch and these requests, None if there are none yet."""
    return await read_publication(store, _publication(account, batch_id, manifest))


async def land(
    store: Store,
    results: AbstractAsyncContextManager[AsyncIterator[bytes]],
    *,
    account: str,
    batch_id: str,
    manifest: Manifest | None,
    expected_count: int,
    scratch: Path | None = None,
    keep_partial: bool = False,
    compare: bool = False,
    prices: PriceList | None = None,
    hidden: Sequence[str] = (),
) -> LandedResults:
    """Land a batch's results once; a second attempt returns the results that the first one published.

    Where their file is no longer in the store, or not whole, they are downloaded, checked and published anew.

    Raises `ResultsIncomplete`, which names the results that are missing, duplicate, foreign or malformed.

    Args:
        store: where the results are put.
        results: the download, entered only if nothing is published that is still there.
        account: that of the batch, as a part of a path.
        batch_id: the batch that they are of.
        manifest: the requests; without them only count and uniqueness are checked, and the provider's order stays.
        expected_count: the number of requests in the batch.
        scratch: a folder for an unnamed file of the size of the results.
        keep_partial: store the lines that did arrive when the results are incomplete, and name that file in the error.
        compare: refuse results that cannot be answers to the requests, although they have the same custom_ids.
        prices: what the results cost is computed by these; by the list alone without them.
        hidden: the secrets of the call: what is said of the lines does not repeat them, as a line in the file may.
    """
    landed = await find_landed(store, account, batch_id, manifest)
    if landed and await has_file(store, landed.results_file):
        return landed
    ids = await read_ids(store, manifest) if manifest else None
    prices = prices or PriceList()
    async with enter_in_thread(scratch_file(scratch)) as file:
        collector = await run_in_thread(lambda: ResultCollector(file, ids, expected_count, prices, hidden))
        others = False
        try:
            with span("download"):
                async with results as chunks:
                    await process_in_thread(chunks, collector.feed)
            with span("check"):
                await run_in_thread(collector.finish)
                defects = await run_in_thread(collector.defects)
                others = collector.of_other_requests
                if compare and manifest and not defects:
                    expected = await read_expected(store, manifest)
                    defects = await run_in_thread(lambda: contradictions(collector.ordered(), expected))
                    others = bool(defects)
        except ReplyLost as error:
            if not (keep_partial and collector.complete_bytes):
                raise
            defects = f"the download was cut off: {error}"
        except ResultsIncomplete as error:
            defects = str(error)
        if not defects:
            with span("publish"):
                return await _publish(store, account, batch_id, manifest, collector, prices, hidden, instead_of=landed)
        kept = ""
        if keep_partial and collector.complete_bytes:
            kept = f"; {await _keep(store, account, batch_id, file.chunks(collector.complete_bytes))}"
        what = "not those of these requests, and so it is probably made of others" if others else "incomplete"
        raise ResultsIncomplete(f"The results of {batch_id} are {what}: {redact(defects, hidden)}{kept}")


async def verify_landed(store: Store, file: ResultsFile) -> None:
    """Read a landed file again; `StoreUnavailable` unless its sha256 is that of the landed results."""
    digest = hashlib.sha256()
    try:
        async for chunk in store.stream(store.name(file.uri)):
            await run_in_thread(partial(digest.update, chunk))
    except FileNotFoundError as error:
        raise StoreUnavailable(f"{file.uri} is no longer in the store: restore it") from error
    if digest.hexdigest() != file.sha256:
        raise StoreUnavailable(f"{file.uri} has changed since it was landed: its sha256 is {digest.hexdigest()}")


async def _publish(
    store: Store,
    account: str,
    batch_id: str,
    manifest: Manifest | None,
    collector: ResultCollector,
    prices: PriceList,
    hidden: Sequence[str],
    *,
    instead_of: LandedResults | None,
) -> LandedResults:
    """Write the lines and publish them; `instead_of` is a publication whose file is gone."""
    path = new_results_path(account, batch_id)
    digest = hashlib.sha256()
    size = 0
    small: list[bytes] = []

    def hashed(lines: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal size
        with ThreadPoolExecutor(1) as thread:
            hashing = thread.submit(digest.update, b"")
            for chunk in lines:
                hashing.result()
                hashing = thread.submit(digest.update, chunk)
                size += len(chunk)
                if size <= MAX_INLINE_RESULTS_BYTES:
                    small.append(chunk)
                yield chunk

    # Neither the lines nor the hash wait for the event loop, which has the calls of other runs.
    await store.write(path, hashed(collector.ordered()))
    summary = collector.summary.build()
    parsed, omitted = await run_in_thread(partial(_parse_inline, b"".join(small), size, hidden))
    landed = LandedResults(
        batch_id=batch_id,
        results_file=ResultsFile(uri=store.uri(path), bytes=size, lines=collector.lines, sha256=digest.hexdigest()),
        results=parsed,
        results_omitted=omitted,
        verified=manifest is not None,
        summary=summary,
        cost=await run_in_thread(partial(prices.cost, summary.usage)),
    )
    publication = _publication(account, batch_id, manifest)
    # Read again: another attempt may have replaced it already. One that does so in between is replaced by this one, and
    # what it has returned stays true: its file is kept.
    if instead_of and await find_landed(store, account, batch_id, manifest) == instead_of:
        await store.remove(publication)
    if await store.create(publication, landed.model_dump_json().encode()):
        return landed
    first = await find_landed(store, account, batch_id, manifest)
    if first is None:
        raise StoreUnavailable(f"{store.uri(publication)} was removed while it was read: try again")
    return first


def _parse_inline(data: bytes, size: int, hidden: Sequence[str]) -> tuple[list[Any] | None, str | None]:
    """Parse lines into JSON values, or say why they are omitted.

    A payload cannot carry more than 256 KiB, text that is not strictly JSON, or deep nesting; a history has no key.
    """
    if size > MAX_INLINE_RESULTS_BYTES:
        return None, f"{size:,} bytes are more than {MAX_INLINE_RESULTS_BYTES:,}: read the results file"
    if repeats(data.decode(errors="replace"), hidden):
        return (
            None,
            "they repeat the API key, which the server has put there: read the results file, and rotate the key",
        )
    results = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            result = msgspec.json.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return None, f"line {number} does not parse ({error}): read the results file"
        if nested_deeper_than(result, MAX_INLINE_DEPTH):
            return None, f"line {number} is nested more than {MAX_INLINE_DEPTH} deep: read the results file"
        results.append(result)
    return results, None


async def _keep(store: Store, account: str, batch_id: str, lines: Iterator[bytes]) -> str:
    path = new_results_path(account, batch_id, incomplete=True)
    await store.write(path, lines)
    return f"the lines that did arrive are in {store.uri(path)}"


def _publication(account: str, batch_id: str, manifest: Manifest | None) -> str:
    return publication_path(account, batch_id, manifest.sha256 if manifest else None)
