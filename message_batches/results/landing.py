"""Landing: a batch's results streamed to scratch, checked, put in order, hashed, and published once.

    results/<batch id>/<attempt>.jsonl                          the lines, in the order of the requests
    results/<batch id>/<manifest's sha256, or unverified>.json  the `Landed` that names the file of the first to finish
    results/<batch id>/incomplete-<attempt>.jsonl               what arrived, where some of it was missing or wrong

An attach without requests and one with them publish under different names: the first has proved less.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
from pydantic import ValidationError

from message_batches.concurrency import in_thread, read_ahead, work_through
from message_batches.errors import ReplyLost, ResultsIncomplete, StoreUnavailable
from message_batches.models import Landed, Manifest, ResultsFile
from message_batches.requests.manifest import read_ids
from message_batches.results.collector import Arrivals
from message_batches.serialization import MAX_INLINE_DEPTH, nested_deeper
from message_batches.storage.interface import Store
from message_batches.storage.scratch import scratch_file

MAX_INLINE_BYTES = 256 * 1024


async def find_landed(store: Store, batch_id: str, manifest: Manifest | None) -> Landed | None:
    """What was published for a batch and these requests, None if nothing yet."""
    name = _published(batch_id, manifest)
    content = await store.read(name)
    try:
        return None if content is None else Landed.model_validate_json(content)
    except ValidationError as error:
        raise StoreUnavailable(f"{store.uri(name)} is damaged: remove it, and the results are landed anew") from error


async def land(
    store: Store,
    results: AbstractAsyncContextManager[AsyncIterator[bytes]],
    *,
    batch_id: str,
    manifest: Manifest | None,
    expected_count: int,
    scratch: Path | None = None,
    beat: Callable[[], None] = lambda: None,
    keep_partial: bool = False,
) -> Landed:
    """Land a batch's results once; a late twin gets what the first one published.

    Raises `ResultsIncomplete` naming what is missing, duplicate, foreign or no result at all.

    Args:
        store: where the results go.
        results: the download, entered only if nothing is published yet.
        batch_id: whose results they are.
        manifest: the requests; without them only count and uniqueness are checked, and the provider's order stays.
        expected_count: the number of requests in the batch.
        scratch: where an unnamed file of the size of the results may lie.
        beat: called often on the event loop.
        keep_partial: put what did arrive beside the results when they are incomplete, and name it in the error.
    """
    if landed := await find_landed(store, batch_id, manifest):
        if store.name(landed.results_file.uri) not in await store.names(f"{_folder(batch_id)}/"):
            raise StoreUnavailable(
                f"{landed.results_file.uri} was landed, and is gone from the store: restore it, or remove "
                f"{store.uri(_published(batch_id, manifest))}, and the results are landed anew"
            )
        return landed
    ids = await read_ids(store, manifest) if manifest else None
    with scratch_file(scratch) as file:
        arrivals = await in_thread(lambda: Arrivals(file, ids, expected_count))
        try:
            async with results as chunks:
                await work_through(chunks, arrivals.feed, beat)
            await in_thread(arrivals.finish)
            defects = await in_thread(arrivals.defects)
        except ReplyLost as error:
            if not (keep_partial and arrivals.whole):
                raise
            defects = f"the download broke off: {error}"
        except ResultsIncomplete as error:
            defects = str(error)
        if not defects:
            return await _publish(store, batch_id, manifest, arrivals, beat)
        kept = ""
        if keep_partial and arrivals.whole:
            kept = f"; {await _keep(store, batch_id, file.chunks(arrivals.whole), beat)}"
        raise ResultsIncomplete(f"{_incomplete(batch_id, defects)}{kept}")


async def check_landed(store: Store, file: ResultsFile) -> None:
    """Read a landed file again; `StoreUnavailable` unless it is what was landed."""
    digest = hashlib.sha256()
    try:
        async for chunk in store.stream(store.name(file.uri)):
            await in_thread(partial(digest.update, chunk))
    except FileNotFoundError as error:
        raise StoreUnavailable(f"{file.uri} is gone from the store") from error
    if digest.hexdigest() != file.sha256:
        raise StoreUnavailable(f"{file.uri} is not what was landed: its sha256 is {digest.hexdigest()}")


async def _publish(
    store: Store, batch_id: str, manifest: Manifest | None, arrivals: Arrivals, beat: Callable[[], None]
) -> Landed:
    name = f"{_folder(batch_id)}/{uuid4()}.jsonl"
    digest = hashlib.sha256()
    size = 0
    small: list[bytes] = []

    async def hashed(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        nonlocal size
        async for chunk in lines:
            await in_thread(partial(digest.update, chunk))
            size += len(chunk)
            if size <= MAX_INLINE_BYTES:
                small.append(chunk)
            beat()
            yield chunk

    async with aclosing(read_ahead(arrivals.ordered())) as lines:
        await store.write(name, hashed(lines))
    parsed, omitted = _parsed(b"".join(small), size)
    landed = Landed(
        batch_id=batch_id,
        results_file=ResultsFile(uri=store.uri(name), bytes=size, lines=arrivals.lines, sha256=digest.hexdigest()),
        results=parsed,
        results_omitted=omitted,
        verified=manifest is not None,
        summary=arrivals.tally.summary(),
    )
    if await store.create(_published(batch_id, manifest), landed.model_dump_json().encode()):
        return landed
    winner = await find_landed(store, batch_id, manifest)
    if winner is None:
        raise StoreUnavailable(f"{store.uri(_published(batch_id, manifest))} exists and cannot be read: try again")
    return winner


def _parsed(data: bytes, size: int) -> tuple[list[Any] | None, str | None]:
    """The lines as JSON values, or why not: what is not strictly JSON, or nested deep, cannot travel in a payload."""
    if size > MAX_INLINE_BYTES:
        return None, f"{size:,} bytes are more than {MAX_INLINE_BYTES:,}: read the results file"
    results = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            result = msgspec.json.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return None, f"line {number} does not parse ({error}): read the results file"
        if nested_deeper(result, MAX_INLINE_DEPTH):
            return None, f"line {number} is nested more than {MAX_INLINE_DEPTH} deep: read the results file"
        results.append(result)
    return results, None


async def _keep(store: Store, batch_id: str, lines: Iterator[bytes], beat: Callable[[], None]) -> str:
    name = f"{_folder(batch_id)}/incomplete-{uuid4()}.jsonl"

    async def arrived(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            beat()
            yield chunk

    async with aclosing(read_ahead(lines)) as chunks:
        await store.write(name, arrived(chunks))
    return f"what did arrive is in {store.uri(name)}"


def _folder(batch_id: str) -> str:
    return f"results/{quote(batch_id, safe='')}"


def _published(batch_id: str, manifest: Manifest | None) -> str:
    return f"{_folder(batch_id)}/{manifest.sha256 if manifest else 'unverified'}.json"


def _incomplete(batch_id: str, what: str) -> str:
    return f"The results of {batch_id} are incomplete: {what}"
