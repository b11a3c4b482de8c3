"""The keys that payloads are encrypted with, and how they are written down."""

import base64
import binascii
import re
from dataclasses import dataclass, field

KEY_BYTES = 32

# Shorter than a key as base64, so that no key gets by as its id, which is repeated in messages and histories.
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True)
class EncryptionKey:
    """A key for AES-256, and the id by which payloads name it."""

    id: str
    secret: bytes = field(repr=False)


def read_keys(text: str) -> tuple[EncryptionKey, ...]:
    """Read `id:base64` entries, one a line or with commas between them; lines beginning with # are comments.

    A `ValueError` says which entry cannot be used and why, without the text of a key.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    keys: dict[str, EncryptionKey] = {}
    for number, entry in enumerate(entries, 1):
        key = _read_key(number, entry)
        if key.id in keys:
            raise ValueError(f"entry {number} has the id {key.id!r} of an earlier one: give each key an id of its own")
        keys[key.id] = key
    if not keys:
        raise ValueError("there is no key in it")
    return tuple(keys.values())


def _read_key(number: int, entry: str) -> EncryptionKey:
    key_id, colon, encoded = (part.strip() for part in entry.partition(":"))
    if not colon:
        raise ValueError(f"entry {number} is not of the form id:base64")
    if not _KEY_ID.fullmatch(key_id):
        raise ValueError(f"entry {number} begins with no id: 1 to 32 letters, digits, '.', '_' or '-', then a colon")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        # Not as the cause: a report of it may show the text.
        raise ValueError(f"entry {number}, {key_id!r}: what follows the colon is not base64") from None
    if len(secret) != KEY_BYTES:
        raise ValueError(f"entry {number}, {key_id!r}: the key has {len(secret)} bytes, {KEY_BYTES} are needed")
    return EncryptionKey(key_id, secret)
