"""Keys for tests."""

import base64
import hashlib
from collections.abc import Sequence

from message_batches.encryption.keys import EncryptionKey


def key(key_id: str) -> EncryptionKey:
    """Return the same key for the same id."""
    return EncryptionKey(key_id, hashlib.sha256(key_id.encode()).digest())


def written(keys: Sequence[EncryptionKey]) -> str:
    """Format keys as the environment has them."""
    return ",".join(f"{each.id}:{base64.b64encode(each.secret).decode()}" for each in keys)
