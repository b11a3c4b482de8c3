"""The manifest: a run's requests in the store, checked and never changed, and the request body that is made of it."""

import hashlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Any

from message_batches.concurrency import in_thread, work_through
from message_batches.errors import RequestsNotFound
from message_batches.jsonl import Splitter
from message_batches.models import Manifest
from message_batches.requests.validation import BODY_END, BODY_START, RequestCheck
from message_batches.storage.interface import Store
from message_batches.storage.scratch import Scratch, scratch_file


async def write_manifest(
    store: Store,
    source: AsyncIterable[bytes],
    *,
    scratch: Path | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Manifest:
    """Check JSONL and put it into the store under its own sha256; `InvalidRequests` names every problem.

    What is in the store already is not written again.

    Args:
        store: where it goes.
        source: JSONL in chunks of any size.
        scratch: where an unnamed file of the same size may lie; by default the system's temporary folder.
        beat: called often on the event loop.
    """
    with scratch_file(scratch) as file:
        draft = _Draft(file)
        await work_through(source, draft.feed, beat)
        await in_thread(draft.finish)
        return await _publish(store, draft, beat)


async def load_manifest(store: Store, uri: str, *, scratch: Path | None = None) -> Manifest:
    """The manifest of JSONL that is in the store: checked all the same, and written again only under another name.

    `RequestsNotFound` if it lies outside the store or is not there.
    """
    try:
        return await write_manifest(store, store.stream(store.name(uri)), scratch=scratch)
    except FileNotFoundError as error:
        raise RequestsNotFound(
            f"{uri} is no file in this worker's store, {store.uri('')} (links are not followed): put it there first"
        ) from error


async def write_inline(store: Store, requests: list[Any], *, scratch: Path | None = None) -> Manifest:
    """Check requests that came with the run's input and put them into the store as a manifest."""
    with scratch_file(scratch) as file:
        draft = _Draft(file)
        await in_thread(lambda: draft.items(requests))
        return await _publish(store, draft, lambda: None)


async def body(store: Store, manifest: Manifest) -> AsyncIterator[bytes]:
    """The request body, exactly `body_bytes` long; its closing brackets come alone, once all else is proved unchanged.

    A manifest that is gone or changed raises `RequestsNotFound`: what was sent by then is no JSON, and buys nothing.
    """
    yield BODY_START
    digest = hashlib.sha256()
    held = b""
    try:
        async for chunk in store.stream(store.name(manifest.uri)):
            digest.update(chunk)
            if held:
                yield held
            # A line holds no other newline: JSON strings escape theirs. A chunk is held back, for the last is dropped.
            held = chunk.replace(b"\n", b",")
    except FileNotFoundError as error:
        raise RequestsNotFound(f"{manifest.uri} is no longer in the store: start the run anew") from error
    if digest.hexdigest() != manifest.sha256:
        raise RequestsNotFound(f"{manifest.uri} has changed since it was checked: start the run anew")
    yield held[:-1]
    yield BODY_END


async def read_ids(store: Store, manifest: Manifest) -> list[str]:
    """The custom_ids of a manifest in its order; `RequestsNotFound` where they are gone or changed."""
    data = await store.read(store.name(manifest.ids_uri))
    if data is None:
        raise RequestsNotFound(f"{manifest.ids_uri} is no longer in the store: start the run anew")
    ids = data.decode("ascii", "replace").split()
    if await in_thread(lambda: _digest(ids)) != manifest.ids_sha256:
        raise RequestsNotFound(f"{manifest.ids_uri} has changed since it was checked: start the run anew")
    return ids


class _Draft:
    """Requests on their way from a source to a scratch file, checked and hashed."""

    def __init__(self, file: Scratch) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.check = RequestCheck()
        self._splitter = Splitter()

    def feed(self, data: bytes) -> None:
        self._keep(self.check.lines(self._splitter.feed(data)))

    def finish(self) -> None:
        self._keep(self.check.lines(self._splitter.end()))
        self.check.finish()

    def items(self, items: list[Any]) -> None:
        for position, item in enumerate(items):
            place = f"requests[{position}]"
            try:
                line = json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
            except (ValueError, TypeError, RecursionError) as error:
                self.check.unreadable(place, f"cannot be written as JSON: {error}")
                continue
            self.check.request(line, place)
            self._keep(line + b"\n")
        self.check.finish()

    def _keep(self, data: bytes) -> None:
        # Too many or too large: the rest is counted, to say into how many files to split it, but not kept.
        if not self.check.too_large:
            self.sha256.update(data)
            self.file.append(data)


async def _publish(store: Store, draft: _Draft, beat: Callable[[], None]) -> Manifest:
    sha256 = draft.sha256.hexdigest()
    name, ids_name = f"manifests/{sha256}.jsonl", f"manifests/{sha256}.ids"
    ids = "".join(f"{custom_id}\n" for custom_id in draft.check.ids).encode()
    # The ids are written last: where they are, the requests are whole.
    if await store.read(ids_name) != ids or not await _there(store, name):
        await store.write(name, _chunks(draft.file, beat))
        await store.write(ids_name, _one(ids))
    return Manifest(
        uri=store.uri(name),
        ids_uri=store.uri(ids_name),
        count=draft.check.count,
        body_bytes=draft.check.body_bytes,
        sha256=sha256,
        ids_sha256=await in_thread(lambda: _digest(draft.check.ids)),
        store_id=await store.identity(),
    )


async def _there(store: Store, name: str) -> bool:
    try:
        async for _ in store.stream(name):
            return True
    except FileNotFoundError:
        pass
    return False


async def _chunks(file: Scratch, beat: Callable[[], None]) -> AsyncIterator[bytes]:
    for chunk in file.chunks(file.size):
        yield chunk
        beat()


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _digest(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
