"""A store under one URL: `file://` on the file system, and `s3://`, `gs://` and `az://` over obstore.

obstore is called in threads, not awaited: its own coroutines, measured on 0.12, occasionally abort the process when the
interpreter ends (1 in 30 to 150 short runs, exit status 134), and leave an upload behind when they are cancelled.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import obstore.store
from obstore.exceptions import BaseError

from message_batches.concurrency import consume_in_thread
from message_batches.errors import RequestsNotFound, StoreUnavailable, why
from message_batches.storage import filesystem, groups
from message_batches.storage.failures import bucket_errors, failure_message, first_line
from message_batches.storage.interface import StoredObject
from message_batches.storage.names import UPLOAD_SUFFIX, checked_name
from message_batches.storage.paths import FOLDERS, NAMESPACES, STORE_ID
from message_batches.storage.urls import InvalidStoreUrl, directory_of, shown_proxy

T = TypeVar("T")

# An upload holds `PART_BYTES * PARTS_AT_ONCE` in memory; S3 takes 10,000 parts.
PART_BYTES = 8 * 1024 * 1024
PARTS_AT_ONCE = 4

# Temporal owns the retries: these only bridge a dropped connection, and limit a server that hangs.
RETRIES: Any = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}

CLIENT: dict[str, Any] = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(minutes=10),
    # This applies only to an endpoint that is written as http://, such as a local MinIO. obstore would also require
    # `AWS_ALLOW_HTTP`, but ignores that variable once any option is given here.
    "allow_http": True,
}


class ObjectStore:
    """A `Store` on a directory or a bucket that `open_store` opened.

    The root of a directory and the store's own folders in it may be links; no other link is followed.
    """

    def __init__(self, store: Any, root: str, folder: Path | None, *, proxy: str = "") -> None:
        self._store = store
        self._root = root
        self._folder = folder
        self._proxy = proxy
        self._id: str | None = None
        # A pool of its own, because an upload's thread waits for chunks that may come from another call to this store.
        self._calls = ThreadPoolExecutor(32, "store")
        self._uploads = ThreadPoolExecutor(64, "store-upload")

    def __repr__(self) -> str:
        return f"ObjectStore({self._root!r})"

    async def identity(self) -> str:
        """Return the store's id; a new store is made, and given one.

        Only an empty store is given one: with another id, no run would find the records that it made.
        """
        if (known := await self.known_identity()) is not None:
            return known
        await self.create(STORE_ID, json.dumps({"id": str(uuid4())}).encode())
        self._id = self._id_in(await self._read(STORE_ID))
        return self._id

    async def known_identity(self) -> str | None:
        """Return the id in `store.json`, None for a new store; a directory is read each time: it may be unmounted."""
        if self._id is not None and self._folder is None:
            return self._id
        known = self._id  # As of before the read: another call may write the first identity meanwhile.
        data = await self._read(STORE_ID)
        if data is None:
            if known is not None:
                raise self._gone()
            # Every process gives a store its id before anything else: what is there first, came after an id.
            record = await self._first_record()
            data = await self._read(STORE_ID)
            if data is None and record:
                raise StoreUnavailable(
                    f"{self.uri(STORE_ID)} is gone, and the store holds records such as {record}. Restore it from a "
                    'backup, or write {"id": "..."} into it: the id is in the first lines of a worker\'s log, and is '
                    "`storeId` in the history of each run"
                )
        if data is not None:
            self._id = self._id_in(data)
        return self._id

    def uri(self, name: str) -> str:
        """Return the address of an object, or of the store for an empty name; `ValueError` for an invalid name."""
        if not name:
            return self._root
        path = checked_name(name)
        return f"{self._root}/{quote(path) if self._folder else path}"

    def name(self, uri: str) -> str:
        """Return the name of the object at an address; `RequestsNotFound` if that is outside this store."""
        outside = f"{uri} is not in this worker's store, {self._root}: put the file there first"
        if self._folder is None:
            root, address = self._root, uri
        else:
            try:
                split = urlsplit(uri)
            except ValueError as error:
                raise RequestsNotFound(outside) from error
            if split.scheme != "file" or split.netloc not in ("", "localhost") or split.query or split.fragment:
                raise RequestsNotFound(outside)
            root, address = self._folder.as_posix().rstrip("/"), unquote(split.path)
        if not address.startswith(f"{root}/"):
            raise RequestsNotFound(outside)
        try:
            return checked_name(address[len(root) + 1 :])
        except ValueError as error:
            raise RequestsNotFound(outside) from error

    async def create(self, name: str, data: bytes) -> bool:
        """Put an object if there is none of that name, atomically; return whether it was put."""
        try:
            await self._call("create", name, partial(self._put, checked_name(name), data, new=True))
        except FileExistsError:
            return False
        return True

    async def write(self, name: str, chunks: AsyncIterable[bytes] | Iterable[bytes]) -> None:
        """Put an object from a stream in place of any old one, completely or not at all; clean up after a failure."""
        upload = await consume_in_thread(chunks, partial(self._put, checked_name(name)), self._uploads)
        try:
            with self._failures("write", self.uri(name)):
                upload.result()
        finally:
            del upload  # It holds an error, whose traceback holds this frame.

    async def read(self, name: str) -> bytes | None:
        """Read a small object; None if there is none."""
        data = await self._read(name)
        if data is None and name != STORE_ID:
            await self._check_there()
        return data

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """Read a large object in chunks of about 1 MiB; `FileNotFoundError` if there is none."""
        try:
            chunks = await self._call("read", name, partial(self._chunks, checked_name(name)))
            while (chunk := await self._call("read", name, lambda: next(chunks, None))) is not None:
                yield bytes(chunk)
        except FileNotFoundError:
            await self._check_there()
            raise

    async def names(self, prefix: str) -> list[str]:
        """List the names that begin with `prefix`, which ends in a slash; sorted."""
        pages = [page async for page in self.listing(prefix.removesuffix("/"))]
        return sorted(stored.name for page in pages for stored in page if not UPLOAD_SUFFIX.search(stored.name))

    async def listing(self, folder: str) -> AsyncIterator[Sequence[StoredObject]]:
        """List the objects in a folder, unordered, in pages; in a directory, unfinished uploads (`name#1`) too."""
        pages = filesystem.walk(self._folder, checked_name(folder)) if self._folder else _pages(self._store, folder)
        found = False
        while (page := await self._call("list", folder, lambda: next(pages, None))) is not None:
            found = found or bool(page)
            yield page
        # A directory that vanishes while it is listed looks like one with fewer files.
        if self._folder or not found:
            await self._check_there()

    async def remove(self, name: str) -> None:
        """Remove an object, if it exists, and the folder of its run or batch, if that is empty afterwards."""
        path = checked_name(UPLOAD_SUFFIX.sub("", name))
        if self._folder:
            await self._call("remove", path, partial(filesystem.unlink, self._folder, name))
        else:
            await self._call("remove", path, partial(self._store.delete, name))

    async def _read(self, name: str) -> bytes | None:
        try:
            return await self._call("read", name, partial(self._bytes, checked_name(name)))
        except FileNotFoundError:
            return None

    async def _check_there(self) -> None:
        """Raise `StoreUnavailable` if something is missing because the whole store is: unmounted, or moved away."""
        if self._id is None:
            return
        data = await self._read(STORE_ID)
        if data is None:
            raise self._gone()
        if self._id_in(data) != self._id:
            raise StoreUnavailable(f"{self._root} is another store now: its id was {self._id}")

    async def _first_record(self) -> str | None:
        """Return the name of a record, which only a store with an id can have; None in a new store."""
        for folder in (*FOLDERS, NAMESPACES):
            async for page in self.listing(folder):
                for stored in page:
                    if folder == NAMESPACES or groups.parse_path(stored.name):
                        return stored.name
        return None

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.uri(STORE_ID)} is gone: check that the store is still mounted at {self._root}")

    def _id_in(self, data: bytes | None) -> str:
        try:
            found = json.loads(data or b"")["id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = None
        if not isinstance(found, str) or not found:
            raise StoreUnavailable(f"{self.uri(STORE_ID)} does not hold the store's id: restore it from a backup")
        return found

    def _bytes(self, name: str) -> bytes:
        return b"".join(filesystem.read(self._folder, name)) if self._folder else bytes(self._store.get(name).bytes())

    def _chunks(self, name: str) -> Iterator[Any]:
        return (
            filesystem.read(self._folder, name)
            if self._folder
            else iter(self._store.get(name).stream(filesystem.CHUNK_BYTES))
        )

    def _put(self, name: str, data: bytes | Iterable[bytes], *, new: bool = False) -> None:
        if self._folder:
            if self._id is None:
                # A new store's, which other users cannot read. That of a store with an id is there, or unmounted.
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            filesystem.put(self._folder, name, [data] if isinstance(data, bytes) else data, new=new)
        else:
            options = {"mode": "create"} if new else {"chunk_size": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
            self._store.put(name, data, **options)

    async def _call(self, doing: str, name: str, call: Callable[[], T]) -> T:
        with self._failures(doing, self.uri(name)):
            return await asyncio.get_running_loop().run_in_executor(self._calls, call)

    @contextmanager
    def _failures(self, doing: str, uri: str) -> Iterator[None]:
        try:
            with nullcontext() if self._folder else bucket_errors():
                yield
        except OSError as error:
            if isinstance(error, FileExistsError) and doing == "create":
                raise
            if isinstance(error, FileNotFoundError) and doing == "read":
                raise FileNotFoundError(f"{uri} is not in the store") from error
            through = f"; calls go through the proxy {self._proxy}" if self._proxy else ""
            reason = why(error) if isinstance(error, PermissionError) else str(error)
            raise StoreUnavailable(f"{failure_message(doing, uri, reason)}{through}") from error


def open_store(url: str, **options: Any) -> ObjectStore:
    """Open the store at a URL; the directory of a `file://` is made with the first object in it, not before.

    Args:
        url: `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
        options: further options of obstore, such as `endpoint` and `client_options`; it reads `AWS_*`, `GOOGLE_*` and
            `AZURE_*` itself.
    """
    folder = directory_of(url)
    if folder:
        return ObjectStore(None, folder.as_uri().rstrip("/"), folder)
    try:
        options["client_options"] = {**CLIENT, **options.get("client_options", {})}
        store = obstore.store.from_url(url, retry_config=RETRIES, **options)
        return ObjectStore(store, url.rstrip("/"), None, proxy=shown_proxy(options["client_options"]))
    except (BaseError, ValueError) as error:
        # In quotes is the value of a variable: if the wrong one was set, a secret.
        reason = re.sub('".*"', "a value", first_line(str(error)))
        raise InvalidStoreUrl(f"{url} cannot be opened: {reason}") from None


def _pages(store: Any, folder: str) -> Iterator[list[StoredObject]]:
    for page in store.list(prefix=f"{folder}/", chunk_size=1000):
        yield [StoredObject(item["path"], item["size"], item["last_modified"]) for item in page]
