"""Requests for the benchmarks."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from message_batches.models import Manifest
from message_batches.requests.manifest import write_manifest
from message_batches.storage.object_store import ObjectStore, open_store

MODEL = "claude-haiku-5-5"
_WORDS = "It was a bright cold day in November, and the batch was waiting for its results. "


def lines(count: int, size: int) -> Iterator[bytes]:
    """Yield so many requests of about `size` bytes, one a line."""
    text = _WORDS * (size // len(_WORDS) + 1)
    bare = len(_line(0, ""))
    for number in range(count):
        yield _line(number, text[: max(0, size - bare)])


async def stored_requests(folder: Path, count: int, size: int) -> tuple[ObjectStore, Manifest]:
    """Store such requests as the manifest of a run, in a store of its own."""

    async def source() -> AsyncIterator[bytes]:
        for line in lines(count, size):
            yield line

    store = open_store(folder.as_uri())
    return store, await write_manifest(store, source(), scratch=folder.parent)


def _line(number: int, text: str) -> bytes:
    message = {"role": "user", "content": f"{number:06} {text}"}
    params = {"model": MODEL, "max_tokens": 4096, "messages": [message]}
    return json.dumps({"custom_id": f"request-{number:06}", "params": params}).encode() + b"\n"
