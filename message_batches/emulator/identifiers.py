"""Ids in the form of the API's: a prefix and 22 characters without 0, O, I and l, which are easily confused."""

import hashlib
import random
import uuid

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
ORGANIZATION_ID = str(uuid.uuid5(uuid.NAMESPACE_DNS, "message-batches-emulator"))


class Identifiers:
    """A generator of ids; two generators with the same seed make the same ones."""

    def __init__(self, seed: int | None) -> None:
        self._random = random.Random(seed)
        # The number of calls must not change the ids of the batches.
        self._per_call = random.Random(self._random.random())

    def batch(self) -> str:
        """Return a `msgbatch_...` id."""
        return "msgbatch_" + encode(self._random.getrandbits(128))

    def request(self) -> str:
        """Return a `req_...` id."""
        return "req_" + encode(self._per_call.getrandbits(128))

    def seed(self) -> int:
        """Return a number to seed whatever must be random and repeat with the seed."""
        return self._random.getrandbits(63)


def encode(number: int) -> str:
    """Format a number below 2**128 in the ids' alphabet, after the `01` that marks their version."""
    digits = []
    for _ in range(22):
        number, digit = divmod(number, 58)
        digits.append(_ALPHABET[digit])
    return "01" + "".join(digits)


def workspace_of(key: str) -> str:
    """Return the id of the workspace that a key belongs to; the key cannot be derived from it."""
    digest = hashlib.blake2b(key.encode(), digest_size=16, person=b"workspace").digest()
    return "wrkspc_" + encode(int.from_bytes(digest, "big"))
