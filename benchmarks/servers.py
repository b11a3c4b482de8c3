"""The servers that the contenders call: the emulator in a process of its own, and a server with almost no cost."""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pydantic import SecretStr

from benchmarks.contender import ROOT
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import DEFAULT_KEY, ApiKeys
from message_batches.api.models import DEFAULT_VERSION

KEY = "sk-ant-benchmark"
HEADERS = {"x-api-key": KEY, "anthropic-version": DEFAULT_VERSION, "content-type": "application/json"}
_PIECE = 1024 * 1024


@asynccontextmanager
async def emulator(*flags: str) -> AsyncIterator[str]:
    """Start an emulator with these flags, and yield its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "message_batches.emulator", "--port", "0", *flags),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        yield (await process.stdout.readline()).split()[-1].decode()
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def api(url: str) -> AsyncIterator[HttpBatchApi]:
    """Return our client of the API at a URL, as a worker has it."""
    async with http_client(url) as http:
        yield HttpBatchApi(http, ApiKeys({DEFAULT_KEY: SecretStr(KEY)}))


@contextmanager
def bare_server(results: Path | None = None) -> Iterator[str]:
    """Serve a file for every GET, by the kernel alone, read every POST, and yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            assert results
            self._head(results.stat().st_size)
            with results.open("rb") as file:
                self.connection.sendfile(file)

        def do_POST(self) -> None:
            left = int(self.headers["content-length"])
            piece = memoryview(bytearray(_PIECE))
            while left:
                left -= self.rfile.readinto1(piece[:left])
            self._head(len(_BATCH))
            self.wfile.write(_BATCH)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def _head(self, length: int) -> None:
            self.send_response(200)
            self.send_header("content-length", str(length))
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


_BATCH = json.dumps(
    {
        "id": "msgbatch_1",
        "processing_status": "in_progress",
        "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "results_url": None,
    }
).encode()
