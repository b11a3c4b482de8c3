"""The store of a round, as its workers use it and as it is inspected from outside: a directory, or a bucket."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import obstore.store

from tests.exhaustive.chaos.proxy import Proxy, running_proxy
from tests.harness.processes import Running, bare_environment, lasting_port
from tests.harness.waiting import eventually

_ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


class Directory:
    """A `file://` store."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.url = folder.as_uri()
        self.settings: Mapping[str, str] = {}

    def move_away(self) -> None:
        self._folder.rename(self._away)

    def move_back(self) -> None:
        """Undo it; the folder must not have been made anew meanwhile."""
        self._away.rename(self._folder)

    @property
    def _away(self) -> Path:
        return self._folder.with_suffix(".away")

    def names(self) -> frozenset[str]:
        return frozenset(
            os.path.relpath(os.path.join(where, name), self._folder)
            for where, _, files in os.walk(self._folder)
            for name in files
        )

    def uri(self, name: str) -> str:
        return (self._folder / name).as_uri()

    def put(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)

    def read(self, uri: str) -> bytes:
        return Path(unquote(urlsplit(uri).path)).read_bytes()


class Bucket:
    """An `s3://` store: a local S3, which keeps everything in memory, behind a proxy that can be closed."""

    def __init__(self, port: int, proxy: Proxy) -> None:
        self.proxy = proxy
        self.url = "s3://bucket/prefix"
        self.settings = {**_ACCOUNT, "AWS_ENDPOINT": f"http://{proxy.address}"}
        self._inside = obstore.store.S3Store(
            "bucket",
            prefix="prefix",
            endpoint=f"http://127.0.0.1:{port}",
            access_key_id="test",
            secret_access_key="test",
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def names(self) -> frozenset[str]:
        return frozenset(each["path"] for each in self._inside.list().collect())

    def uri(self, name: str) -> str:
        return f"{self.url}/{name}"

    def put(self, name: str, data: bytes) -> None:
        self._inside.put(name, data)

    def read(self, uri: str) -> bytes:
        return bytes(self._inside.get(uri.removeprefix(f"{self.url}/")).bytes())

    def copy_to(self, folder: Path) -> None:
        """Copy all objects into a folder."""
        for name in self.names():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bytes(self._inside.get(name).bytes()))


@asynccontextmanager
async def bucket(folder: Path) -> AsyncIterator[Bucket]:
    """Run an S3 server with an empty bucket."""
    port = lasting_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = await Running.start(command, folder / "bucket.log", environment=bare_environment(folder / "home"))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

            async def made() -> bool:
                assert server.exit_code is None, f"the S3 did not start: {server.output}"
                try:
                    return (await http.put("/bucket")).is_success
                except httpx.HTTPError:
                    return False

            await eventually(made, "a bucket")
        async with running_proxy(port) as proxy:
            made_bucket = Bucket(port, proxy)
            yield made_bucket
        await asyncio.to_thread(made_bucket.copy_to, folder / "bucket")
    finally:
        await server.kill()
