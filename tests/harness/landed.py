"""Results in a store as a run would have landed them, without a run."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from message_batches.prices import PriceList
from message_batches.result_models import LandedResults, ResultsFile
from message_batches.results.parser import read_result
from message_batches.results.reader import Publication
from message_batches.results.summary import SummaryBuilder
from message_batches.storage import paths
from message_batches.storage.interface import Store

BATCH_ID = "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d"
_FOLDER = f"results/default-000000000000/{BATCH_ID}"


def reply(
    custom_id: str,
    text: str = "Hello",
    *,
    stop_reason: str = "end_turn",
    model: str = "claude-sonnet-5",
    usage: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the line of a succeeded result."""
    used = {"input_tokens": 10, "output_tokens": 20, **(usage or {})}
    message = {"model": model, "stop_reason": stop_reason, "content": [{"type": "text", "text": text}], "usage": used}
    return _line(custom_id, {"type": "succeeded", "message": message})


def error(custom_id: str, kind: str = "api_error", message: str = "Internal server error") -> bytes:
    """Return the line of an errored result."""
    return _line(
        custom_id, {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": message}}}
    )


def without_reply(custom_id: str, outcome: str) -> bytes:
    """Return the line of an expired or canceled result."""
    return _line(custom_id, {"type": outcome})


def _line(custom_id: str, result: dict[str, Any]) -> bytes:
    return json.dumps({"custom_id": custom_id, "result": result}).encode()


async def put_results(
    store: Store, lines: Sequence[bytes], requests: Sequence[Mapping[str, Any]] | None = None
) -> Publication:
    """Put results into a store, and their requests where they are given."""
    builder = SummaryBuilder(PriceList())
    for position, line in enumerate(lines):
        builder.add(read_result(line), position)
    summary = builder.build()
    data = b"".join(line + b"\n" for line in lines)
    await store.write(f"{_FOLDER}/results.jsonl", _once(data))
    manifest = None
    if requests is not None:
        written = b"".join(json.dumps(request).encode() + b"\n" for request in requests)
        manifest = hashlib.sha256(written).hexdigest()
        await store.write(paths.requests_path(manifest), _once(written))
    file = ResultsFile(
        uri=store.uri(f"{_FOLDER}/results.jsonl"),
        bytes=len(data),
        lines=len(lines),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    landed = LandedResults(
        batch_id=BATCH_ID,
        results_file=file,
        verified=manifest is not None,
        summary=summary,
        cost=PriceList().cost(summary.usage),
    )
    return Publication(landed, manifest)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
