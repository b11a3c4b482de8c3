"""The connection to Temporal: its own configuration, our data converter; the only `Client.connect`."""

import os
import re
import secrets
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.envconfig import ClientConfig
from temporalio.service import TLSConfig

from message_batches.encryption.codec import EncryptionCodec
from message_batches.encryption.keys import EncryptionKey
from message_batches.errors import MessageBatchesError
from message_batches.settings import encryption_keys
from message_batches.temporal.diagnosis import Attempt, connection_problem


def data_converter(keys: Sequence[EncryptionKey] = ()) -> DataConverter:
    """Return a converter to pydantic's JSON; with keys it encrypts everything, including messages of failures."""
    # Without keys too: a payload that others have encrypted then fails with a message that names its key.
    converter = replace(pydantic_data_converter, payload_codec=EncryptionCodec(keys))
    if not keys:
        return converter
    return replace(converter, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)


DATA_CONVERTER = data_converter()
"""The converter without keys: nothing is encrypted."""

_ADDRESS = re.compile(r"(https?://)?(?!sk-)(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?/?")


class TemporalUnreachable(MessageBatchesError):
    """Temporal cannot be used as it is configured; the message says why, and what to set."""


def worker_identity() -> str:
    """Return an identity that is unique to this process.

    It is short, because each poll repeats it seven times in the history: the end of the host's name identifies a pod.
    """
    host = socket.gethostname().partition(".")[0]
    return f"{host[-12:]}-{secrets.token_hex(2)}"


async def connect(*, address: str | None = None, namespace: str | None = None, identity: str | None = None) -> Client:
    """Connect as configured by `TEMPORAL_*` and `temporal.toml`; an argument overrides them.

    With `MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE` or `MESSAGE_BATCHES_ENCRYPTION_KEYS` set, payloads are encrypted.
    """
    converter = data_converter(encryption_keys())
    try:
        config = ClientConfig.load_client_connect_config()
    except (RuntimeError, OSError, ValueError) as error:
        # No cause: it repeats the line of the file, or the value given as a file name, and either may be a key.
        raise TemporalUnreachable(f"Temporal's configuration, TEMPORAL_* or temporal.toml: {_reason(error)}") from None
    if address:
        config["target_host"] = address
    if namespace:
        config["namespace"] = namespace
    target = config.setdefault("target_host", "localhost:7233")
    if not _ADDRESS.fullmatch(target):
        raise TemporalUnreachable(
            "TEMPORAL_ADDRESS, or the address in temporal.toml, is not valid: expected host:port (localhost:7233)"
        )
    try:
        return await Client.connect(**config, data_converter=converter, identity=identity)  # noqa: TID251 the one place
    except RuntimeError as error:
        tls = config.get("tls")
        attempt = Attempt(
            target=re.sub("^https?://|/$", "", target),
            tls=bool(tls) or target.startswith("https://"),
            certificate=isinstance(tls, TLSConfig) and bool(tls.client_cert),
            key=bool(config.get("api_key")),
        )
        raise TemporalUnreachable(await connection_problem(attempt, str(error))) from error


def _reason(error: Exception) -> str:
    """Return where and how a configuration is wrong, without its line or value: either may be a key."""
    if isinstance(error, OSError):
        return f"a file named in it: {error.strerror}"
    lines = str(error).strip().split("\n")
    lines[-1] = re.sub(r"^(invalid \w+): .*(?=, expected)", r"\1", lines[-1])
    return ": ".join(re.sub("'.*' ?", "", line) for line in dict.fromkeys((lines[0], lines[-1])))


def leave(code: int) -> NoReturn:
    """Exit the process without waiting for the SDK's threads.

    The ordinary exit sometimes aborts: 12 of 40 times right after a refused connection (temporalio 1.35).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
