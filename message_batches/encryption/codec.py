"""Payload encryption: AES-256-GCM between our processes and the Temporal server, which sees no content.

An encrypted payload, for authors of a codec in another language:

    metadata  encoding           binary/encrypted
              encryption-key-id  the id of the key
    data      nonce (12 bytes), ciphertext of the payload as protobuf, tag (16 bytes)
    AAD       binary/encrypted, a zero byte, the id of the key
"""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from message_batches.encryption.keys import EncryptionKey
from message_batches.errors import CannotDecrypt, MessageBatchesError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ENCODING = b"binary/encrypted"
KEY_ID_METADATA = "encryption-key-id"
_NONCE_BYTES = 12
_SHOWN = 64
"""Characters of a key id in messages: a payload's metadata can be anything."""


class EncryptionUnavailable(MessageBatchesError):
    """There are keys, and the library that encrypts is not installed."""


class EncryptionCodec(PayloadCodec):
    """Encrypts with the first key and decrypts with all; what is not encrypted is passed on as it is.

    Without a key it encrypts nothing, and names the key that an encrypted payload wants.
    """

    def __init__(self, keys: Sequence[EncryptionKey] = ()) -> None:
        self._ciphers = {key.id: _cipher(key) for key in keys}
        self._key_id = keys[0].id if keys else None

    @property
    def encrypts(self) -> bool:
        """Whether there is a key to encrypt with."""
        return self._key_id is not None

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload, its metadata included, with a nonce of its own."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt the payloads that are encrypted; `CannotDecrypt` says which key is wanted."""
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        if self._key_id is None:
            return payload
        nonce = secrets.token_bytes(_NONCE_BYTES)
        key_id = self._key_id.encode()
        sealed = self._ciphers[self._key_id].encrypt(nonce, payload.SerializeToString(), _authenticated(key_id))
        return Payload(metadata={"encoding": ENCODING, KEY_ID_METADATA: key_id}, data=nonce + sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get(KEY_ID_METADATA, b"")
        named = key_id.decode(errors="replace")
        shown, cipher = named[:_SHOWN], self._ciphers.get(named)
        if cipher is None:
            held = ", ".join(self._ciphers) or "none"
            raise CannotDecrypt(
                f"A payload is encrypted with key {shown!r}, which this process does not hold (it holds: {held}). Add "
                "that key to MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE or MESSAGE_BATCHES_ENCRYPTION_KEYS and start again",
                key_id=shown,
            )
        from cryptography.exceptions import InvalidTag

        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, _authenticated(key_id)))
        except (InvalidTag, ValueError, DecodeError) as error:
            raise CannotDecrypt(
                f"A payload names key {shown!r}, and the key held under that id does not open it: another key has the "
                "same id where it was written, or the payload was altered. Give this process the key that it was "
                "written with",
                key_id=shown,
            ) from error


def _authenticated(key_id: bytes) -> bytes:
    """Return the additional authenticated data: if it is changed, decryption fails."""
    return ENCODING + b"\0" + key_id


def _cipher(key: EncryptionKey) -> "AESGCM":
    # Not at the top: a caller without keys needs no library for them.
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise EncryptionUnavailable(
            "Encryption keys are set, and the library that encrypts is missing: "
            "`pip install message-batches[encryption]`, or set no keys"
        ) from error
    return AESGCM(key.secret)
