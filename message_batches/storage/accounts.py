"""The accounts of a store: a key's name with the place where it is used, which a batch's results and claim stand under.

    accounts/<account>.json   the key's name, its base URL, its workspace

A batch id is known to one server only. What another one says of the same id, a caller's own gateway above all, is about
another batch, or is made up.
"""

from pydantic import ValidationError

from message_batches.api.keys import Account
from message_batches.errors import StoreUnavailable
from message_batches.storage import paths
from message_batches.storage.interface import Store


class AccountRecords:
    """The records of accounts in a store: callers know the name of a key, and not where the workers use it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By the names of their records, which never change.
        self._known: dict[str, Account] = {}

    async def record(self, account: Account) -> str:
        """Record an account before anything is put under it; return its part of a path."""
        name = paths.account_path(account.part)
        if name not in self._known:
            await self._store.create(name, account.model_dump_json().encode())
            self._known[name] = account
        return account.part

    async def all(self, api_key: str | None = None) -> list[Account]:
        """Return the accounts of the store, or those of one key."""
        names = paths.accounts_among(await self._store.names(f"{paths.ACCOUNTS}/"))
        found = [await self._read(name) for name in names]
        return [each for each in found if each and (api_key is None or each.api_key == api_key)]

    async def _read(self, name: str) -> Account | None:
        if name not in self._known:
            content = await self._store.read(name)
            if content is None:
                return None
            try:
                self._known[name] = Account.model_validate_json(content)
            except ValidationError as error:
                raise StoreUnavailable(f"{self._store.uri(name)} is damaged: restore it from a backup") from error
        return self._known[name]
