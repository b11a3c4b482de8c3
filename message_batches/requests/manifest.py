"""The manifest: a run's requests in the store, checked and never changed, and the request body built from it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from message_batches.concurrency import process_in_thread, run_in_thread
from message_batches.errors import RequestsNotFound
from message_batches.jsonl import LONG_LINE, Line, Splitter, join, strip, without_bom
from message_batches.models import Manifest
from message_batches.requests.content import ContentHash
from message_batches.requests.validation import BODY_END, BODY_START, RequestCheck
from message_batches.storage.interface import Store
from message_batches.storage.paths import ids_path, requests_path
from message_batches.storage.scratch import Scratch, scratch_file


async def write_manifest(
    store: Store,
    source: AsyncIterable[bytes],
    *,
    scratch: Path | None = None,
    turns: asyncio.Semaphore | None = None,
) -> Manifest:
    """Check JSONL and put it into the store under its own sha256; `InvalidRequests` names every problem.

    A manifest that is in the store already is not written again.

    Args:
        store: where the manifest is put.
        source: JSONL in chunks of any size.
        scratch: a folder for an unnamed file of the same size; by default the system's temporary folder.
        turns: the turns that requests of more than 1 MiB take: each may be one line of 256 MB.
    """
    with scratch_file(scratch) as file:
        draft = _ManifestDraft(file)
        async with large_in_turn(source, turns) as chunks:
            await process_in_thread(chunks, draft.feed)
            await run_in_thread(draft.finish)
        return await store_manifest(store, draft.checked())


@asynccontextmanager
async def large_in_turn(
    source: AsyncIterable[bytes], turns: asyncio.Semaphore | None
) -> AsyncIterator[AsyncIterable[bytes]]:
    """Give chunks that pass on a source; behind its first 1 MiB only in turn, which lasts as long as this context."""

    async def chunks(turns: asyncio.Semaphore) -> AsyncIterator[bytes]:
        left = LONG_LINE
        async for chunk in source:
            if 0 <= left < len(chunk):
                await turn.enter_async_context(turns)
            left -= len(chunk)
            yield chunk

    async with AsyncExitStack() as turn:
        yield chunks(turns) if turns else source


async def load_manifest(
    store: Store, uri: str, *, scratch: Path | None = None, turns: asyncio.Semaphore | None = None
) -> Manifest:
    """Check JSONL that is in the store, and write it again only if its name is not that of its manifest.

    `RequestsNotFound` if the address is outside the store or there is no object.
    """
    try:
        return await write_manifest(store, store.stream(store.name(uri)), scratch=scratch, turns=turns)
    except FileNotFoundError as error:
        raise RequestsNotFound(
            f"{uri} is not a file in this worker's store, {store.uri('')} (links are not followed): put it there first"
        ) from error


async def write_inline_manifest(store: Store, requests: list[Any], *, scratch: Path | None = None) -> Manifest:
    """Check the requests in a run's input and put them into the store as a manifest."""
    with scratch_file(scratch) as file:
        draft = _ManifestDraft(file)
        await run_in_thread(lambda: draft.items(requests))
        return await store_manifest(store, draft.checked())


async def content_of(store: Store, uri: str) -> str:
    """Return the sha256 of the content of requests in the store; `RequestsNotFound` if they are not there."""
    content, splitter = ContentHash(), Splitter()

    def add(lines: list[bytes]) -> None:
        for line in lines:
            if request := strip(without_bom(line)):
                content.add(request)

    try:
        chunks = store.stream(store.name(uri))
        await process_in_thread(chunks, lambda data: add(splitter.feed(data)))
    except FileNotFoundError as error:
        raise RequestsNotFound(f"{uri} is no longer in the store") from error
    await run_in_thread(lambda: add(splitter.end()))
    return content.hexdigest()


def content_of_items(requests: list[Any]) -> str:
    """Return the sha256 of the content of requests in a run's input."""
    content = ContentHash()
    for item in requests:
        content.add(_json_line(item))
    return content.hexdigest()


async def request_body(store: Store, manifest: Manifest) -> AsyncIterator[bytes]:
    """Yield the request body, exactly `body_bytes` long; its closing brackets come last, once the rest is verified.

    `RequestsNotFound` if the manifest is gone or changed: the part that was sent by then is not JSON, so that the API
    refuses it.
    """
    yield BODY_START
    digest = hashlib.sha256()
    held = b""
    try:
        async for chunk in store.stream(store.name(manifest.uri)):
            digest.update(chunk)
            if held:
                yield held
            # A line has no other newline: JSON strings escape theirs. One chunk is held back, to drop the last comma.
            held = chunk.replace(b"\n", b",")
    except FileNotFoundError as error:
        raise RequestsNotFound(f"{manifest.uri} is no longer in the store: start a new run") from error
    if digest.hexdigest() != manifest.sha256:
        raise RequestsNotFound(f"{manifest.uri} has changed since it was checked: start a new run")
    yield held[:-1]
    yield BODY_END


async def read_ids(store: Store, manifest: Manifest) -> list[str]:
    """Return the custom_ids of a manifest in its order; `RequestsNotFound` if they are gone or changed."""
    data = await store.read(store.name(manifest.ids_uri))
    if data is None:
        raise RequestsNotFound(f"{manifest.ids_uri} is no longer in the store: start a new run")
    ids: list[str]
    ids, digest = await run_in_thread(partial(_ids_in, data))
    if digest != manifest.ids_sha256:
        raise RequestsNotFound(f"{manifest.ids_uri} has changed since it was checked: start a new run")
    return ids


@dataclass
class CheckedLines:
    """Checked requests, one a line.

    Attributes:
        lines: canonical JSONL, the bytes of the manifest.
        ids: their custom_ids, in the same order.
        count, body_bytes: the number of requests, and the length of the request body with them.
        sha256: of the lines, and so of the manifest.
        content_sha256: of their content, however it is written.
    """

    lines: Scratch
    ids: list[str]
    count: int
    body_bytes: int
    sha256: str
    content_sha256: str


class _ManifestDraft:
    """Requests that are checked and hashed on their way from a source to a scratch file."""

    def __init__(self, file: Scratch) -> None:
        self.file = file
        self.content = ContentHash()
        self.sha256 = hashlib.sha256()
        self.check = RequestCheck(self.content)
        self._splitter = Splitter()

    def feed(self, data: bytes) -> None:
        self._keep(self.check.lines(self._splitter.feed(data)))

    def finish(self) -> None:
        self._keep(self.check.lines(self._splitter.end()))
        self.check.finish()

    def items(self, items: list[Any]) -> None:
        check_items(items, self.check, self._keep)
        self.check.finish()

    def _keep(self, lines: list[Line]) -> None:
        # Of requests that will be refused the rest is only checked, or counted to say how many batches they need.
        if not self.check.refused:
            for piece in join(lines):
                self.sha256.update(piece)
                self.file.append(piece)

    def checked(self) -> CheckedLines:
        check = self.check
        return CheckedLines(
            self.file, check.ids, check.count, check.body_bytes, self.sha256.hexdigest(), self.content.hexdigest()
        )


def check_items(items: list[Any], check: RequestCheck, keep: Callable[[list[Line]], None]) -> None:
    """Check the requests of an input, and keep each as a line."""
    for position, item in enumerate(items):
        place = f"requests[{position}]"
        try:
            line = _json_line(item)
        except (ValueError, TypeError, RecursionError) as error:
            check.unreadable(place, f"cannot be written as JSON: {error}")
            continue
        check.request(line, place)
        keep([line])


def _json_line(item: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def manifest_of(store: Store, requests: CheckedLines) -> Manifest:
    """Return the manifest that requests have once they are in the store; nothing but the store's id is written."""
    return Manifest(
        uri=store.uri(requests_path(requests.sha256)),
        ids_uri=store.uri(ids_path(requests.sha256)),
        count=requests.count,
        body_bytes=requests.body_bytes,
        sha256=requests.sha256,
        ids_sha256=await run_in_thread(lambda: _digest(requests.ids)),
        # Before the first object: a store that holds any, and has no id, is one that has lost it.
        store_id=await store.identity(),
        content_sha256=requests.content_sha256,
    )


async def store_manifest(store: Store, requests: CheckedLines) -> Manifest:
    """Put requests that are checked into the store, unless they are there."""
    manifest = await manifest_of(store, requests)
    name, ids_name = store.name(manifest.uri), store.name(manifest.ids_uri)
    ids = "".join(f"{custom_id}\n" for custom_id in requests.ids).encode()
    # The ids are written last: if they are there, the requests are complete.
    if await store.read(ids_name) != ids or not await is_stored(store, name):
        await store.write(name, requests.lines.chunks(requests.lines.size))
        await store.write(ids_name, [ids])
    return manifest


async def is_stored(store: Store, name: str) -> bool:
    """Return whether a store has an object of that name."""
    try:
        async for _ in store.stream(name):
            return True
    except FileNotFoundError:
        pass
    return False


def _ids_in(data: bytes) -> tuple[list[str], str]:
    ids = data.decode("ascii", "replace").split()
    return ids, _digest(ids)


def _digest(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
