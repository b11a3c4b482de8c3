"""The requests of a run: the look for its file, whose address may name the time of the run, and the read of it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from temporalio import activity

from activities.failures import check_store, errors_as_failures
from activities.models import FindRequestsInput, FoundRequests, PrepareInput
from message_batches.contract import ActivityType
from message_batches.models import Manifest
from message_batches.requests.first_read import FirstRead
from message_batches.requests.manifest import is_stored, load_manifest, write_inline_manifest
from message_batches.storage.interface import Store
from message_batches.uri_template import fill


class RequestsActivities:
    """The search for requests files, over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @activity.defn(name=ActivityType.FIND_REQUESTS)
    async def find_requests(self, given: FindRequestsInput) -> FoundRequests:
        """Fill in the address of a requests file, and look once whether it is in the store.

        What the run has read of it before is found in its place.
        """
        with errors_as_failures():
            if given.store_id:
                await check_store(self._store, given.store_id)
            if before := await FirstRead(self._store, activity.info().workflow_id, given.first_run_id).found():
                return FoundRequests(requests_uri=before, found=True)
            uri = given.requests_uri
            if given.zone is not None:
                uri = fill(uri, given.time, given.zone)
            return FoundRequests(requests_uri=uri, found=await is_stored(self._store, self._store.name(uri)))


async def read_requests(
    store: Store,
    given: PrepareInput,
    check: Callable[[Manifest], Awaitable[None]],
    *,
    scratch: Path | None = None,
    turns: asyncio.Semaphore | None = None,
) -> Manifest | None:
    """Read the requests of a run into the store; return their manifest, or None if it has none.

    A file is read once: a reset or a retry of the run has what was read first, whatever is there now.

    Args:
        store: of the requests.
        given: names them.
        check: raises if they may not be sent; then they count as not read.
        scratch: a folder for temporary files; by default the system's.
        turns: the turns that large checks of the worker take.
    """
    if given.requests is not None:
        manifest = await write_inline_manifest(store, given.requests, scratch=scratch)
        await check(manifest)
        return manifest
    if (uri := given.requests_uri) is None:
        return None
    first = FirstRead(store, activity.info().workflow_id, given.first_run_id)
    manifest = await load_manifest(store, await first.address(uri), scratch=scratch, turns=turns)
    await check(manifest)
    holds = await first.record(uri, manifest.uri)
    if holds == manifest.uri:
        return manifest
    return await load_manifest(store, holds, scratch=scratch, turns=turns)
