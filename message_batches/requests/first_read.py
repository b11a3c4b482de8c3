"""The first read of a requests file: a run that is reset or retried goes on with what it has read, not with the file.

The record names the manifest of a run, or the first plan of a job. It is put once, after the requests were found good
and before anything of them is sent. Requests that are in the store under the hash of their content need none.
"""

from pydantic import ValidationError

from message_batches.errors import StoreUnavailable
from message_batches.serialization import ContractModel
from message_batches.storage.groups import parse_path
from message_batches.storage.interface import Store
from message_batches.storage.paths import first_read_path


class FirstReadRecord(ContractModel):
    """The record of a first read.

    Attributes:
        requests: the name, in the store, of the manifest or the plan with what was read.
    """

    requests: str


class FirstRead:
    """The first read of one run or job, over its resets, retries and continue-as-new.

    Args:
        store: of the requests and the record.
        workflow_id: of the run or the job.
        first_run_id: of the first in its chain. Without both nothing is recorded or found.
    """

    def __init__(self, store: Store, workflow_id: str | None, first_run_id: str | None) -> None:
        self._store = store
        self._path = first_read_path(workflow_id, first_run_id) if workflow_id and first_run_id else None

    async def found(self) -> str | None:
        """Return the address of the manifest or the plan with what was read before; None if nothing was."""
        content = await self._store.read(self._path) if self._path else None
        if self._path is None or content is None:
            return None
        try:
            return self._store.uri(FirstReadRecord.model_validate_json(content).requests)
        except (ValidationError, ValueError) as error:
            raise StoreUnavailable(f"{self._store.uri(self._path)} is damaged: restore it from a backup") from error

    async def address(self, uri: str) -> str:
        """Return the address at which the requests of an input are to be read: that of what was read before, if any."""
        return uri if parse_path(self._store.name(uri)) else await self.found() or uri

    async def record(self, uri: str, read: str) -> str:
        """Record what was read at an address, unless that is recorded; return the address of what holds.

        Args:
            uri: the address in the input.
            read: that of the manifest or the plan with the requests that were there.
        """
        if self._path is None or parse_path(self._store.name(uri)):
            return read
        record = FirstReadRecord(requests=self._store.name(read))
        if await self._store.create(self._path, record.model_dump_json().encode()):
            return read
        holds = await self.found()
        if holds is None:
            raise StoreUnavailable(f"{self._store.uri(self._path)} was removed while it was read: try again")
        return holds
