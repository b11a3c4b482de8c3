"""The connection to Temporal: its own configuration, our data converter; the only `Client.connect`."""

import asyncio
import os
import re
import secrets
import socket
import ssl
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NoReturn, cast
from urllib.parse import quote

from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadConverter
from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS, ClientConnectConfig
from temporalio.service import TLSConfig

from message_batches.encryption.codec import EncryptionCodec
from message_batches.encryption.keys import EncryptionKey
from message_batches.errors import MessageBatchesError
from message_batches.settings import encryption_keys
from message_batches.temporal.diagnosis import Attempt, connection_problem

# One for all: the SDK makes another at each workflow task, which has forgotten how each model is read.
_CONVERTER = cast("type[PayloadConverter]", cache(PydanticPayloadConverter))


def data_converter(keys: Sequence[EncryptionKey] = ()) -> DataConverter:
    """Return a converter to pydantic's JSON; with keys it encrypts everything, including messages of failures."""
    # Without keys too: a payload that others have encrypted then fails with a message that names its key.
    converter = replace(
        pydantic_data_converter, payload_codec=EncryptionCodec(keys), payload_converter_class=_CONVERTER
    )
    if not keys:
        return converter
    return replace(converter, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)


DATA_CONVERTER = data_converter()
"""The converter without keys: nothing is encrypted."""

_LETTERS = string.ascii_uppercase + string.digits
_CONNECT_TIMEOUT = 35
"""Seconds: the SDK waits 30 for the first answer, and without an end for TLS to be established."""

_ADDRESS = re.compile(r"(?!sk-)(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?")
_SOURCES = {
    "server_root_ca_cert": "server_ca_cert",
    "client_cert": "client_cert",
    "client_private_key": "client_key",
}
"""The fields of a profile's `tls` that have a file or its text, and their names in temporal.toml."""

_OTHER_OF_THE_PAIR = {"client_cert": "client_private_key", "client_private_key": "client_cert"}
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[\s\w+/=]++-----END CERTIFICATE-----")
_FILE_NAME = re.compile(r"(?!sk-)[\w./\\:~ @+-]{1,200}")
"""A name that may be repeated: a key or a certificate given in its place has lines, or is long."""


class TemporalUnreachable(MessageBatchesError):
    """Temporal cannot be used as it is configured; the message says why, and what to set."""


def worker_identity() -> str:
    """Return an identity that hardly another process has: the end of the host's name, as of a pod, and three letters.

    It is short, because each poll repeats it eight times in the history.
    """
    host = socket.gethostname().partition(".")[0]
    return host[-5:] + "".join(secrets.choice(_LETTERS) for _ in range(3))


def web_ui_of(address: str) -> str | None:
    """Return the address of the Web UI of Temporal Cloud, or of a development server; None for any other server."""
    host, _, port = address.rpartition(":")
    if host.endswith((".tmprl.cloud", ".api.temporal.io")):
        return "https://cloud.temporal.io"
    if host in ("localhost", "127.0.0.1", "[::1]"):
        return f"http://{host}:{int(port) + 1000}"  # Where `temporal server start-dev` has it.
    return None


def run_url(ui_url: str, namespace: str, workflow_id: str, run_id: str) -> str:
    """Return the address of a run's page in the Web UI."""
    parts = [quote(part, safe="") for part in (namespace, workflow_id, run_id)]
    return "{}/namespaces/{}/workflows/{}/{}/history".format(ui_url, *parts)


async def connect(
    *,
    address: str | None = None,
    namespace: str | None = None,
    identity: str | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """Connect as configured by `TEMPORAL_*` and `temporal.toml`; an argument overrides them.

    With `MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE` or `MESSAGE_BATCHES_ENCRYPTION_KEYS` set, payloads are encrypted.
    """
    converter = data_converter(encryption_keys())
    environment = {name: value for name, value in os.environ.items() if value or not name.startswith("TEMPORAL_")}
    config = _read_config(environment)
    if address:
        config["target_host"] = address
    if namespace:
        config["namespace"] = namespace
    target = config.setdefault("target_host", "localhost:7233")
    if not _ADDRESS.fullmatch(target):
        raise TemporalUnreachable(
            "TEMPORAL_ADDRESS, or the address in temporal.toml, is not valid: expected host:port (localhost:7233), "
            "without http:// or https://; TEMPORAL_TLS=true turns TLS on"
        )
    tls = config.get("tls")
    attempt = Attempt(
        target=target,
        tls=_tls_turned_on_by(environment, config) if tls else None,
        certificate=isinstance(tls, TLSConfig) and bool(tls.client_cert),
        key=bool(config.get("api_key")),
    )
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            return await Client.connect(  # noqa: TID251 the one place
                **config, data_converter=converter, identity=identity, interceptors=interceptors
            )
    except (RuntimeError, TimeoutError) as error:
        reason = str(error) or "Timeout expired"
        raise TemporalUnreachable(await connection_problem(attempt, reason)) from error


def _read_config(environment: Mapping[str, str]) -> ClientConnectConfig:
    """Return Temporal's configuration, with what is wrong in it refused by the name of its variable or field."""
    # The SDK turns TLS on for any word that it does not know, such as `no`.
    if environment.get("TEMPORAL_TLS", "1").casefold() not in ("true", "1", "false", "0"):
        raise TemporalUnreachable("TEMPORAL_TLS is not valid: expected true or false")
    try:
        profile = ClientConfigProfile.load(override_env_vars=environment)
        if profile.tls and not profile.tls.disabled:
            _check_tls(profile.tls, environment)
        return profile.to_client_connect_config()
    except (RuntimeError, OSError, ValueError) as error:
        # No cause: it repeats the line of the file, or the value given as a file name, and either may be a key.
        raise TemporalUnreachable(f"Temporal's configuration, TEMPORAL_* or temporal.toml: {_reason(error)}") from None


def _check_tls(tls: ClientConfigTLS, environment: Mapping[str, str]) -> None:
    """Refuse a file that cannot be read, an authority without a certificate, and a certificate or key alone."""
    given = {field: getattr(tls, field) for field in _SOURCES if getattr(tls, field) is not None}
    for field, source in given.items():
        named = _name_of(field, source, environment, where=field)
        if isinstance(source, Path):
            if field != "client_private_key" and _FILE_NAME.fullmatch(str(source)):
                named = f"{named}: {source}"
            try:
                content = source.read_bytes()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "not the name of a file"
                raise TemporalUnreachable(f"{named}: the file cannot be read ({why})") from None
        else:
            content = source if isinstance(source, bytes) else source.encode()
        if field == "server_root_ca_cert" and not any(map(_is_certificate, _CERTIFICATE.findall(content))):
            raise TemporalUnreachable(f"{named}: there is no certificate in it: expected the authority's in PEM form")
        if (other := _OTHER_OF_THE_PAIR.get(field)) and other not in given:
            missing = _name_of(other, source, environment, where=field)
            raise TemporalUnreachable(
                f"{named} is set and {missing} is not: a client needs its certificate and the key"
            )


def _name_of(field: str, source: object, environment: Mapping[str, str], *, where: str) -> str:
    """Return the name of a field as a variable, or in temporal.toml if the field `where` is set there."""
    form = "path" if isinstance(source, Path) else "data"
    if f"TEMPORAL_TLS_{_SOURCES[where]}_{form}".upper() in environment:
        return f"TEMPORAL_TLS_{_SOURCES[field]}_{form}".upper()
    return f"tls.{_SOURCES[field]}_{form} in temporal.toml"


def _is_certificate(pem: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode())
    except (ssl.SSLError, ValueError):
        return False
    return True


def _tls_turned_on_by(environment: Mapping[str, str], config: ClientConnectConfig) -> str:
    """Return the variable that turns TLS on, as far as it is one."""
    given = [name for name in sorted(environment) if name.startswith("TEMPORAL_TLS")]
    if not given and isinstance(config.get("tls"), TLSConfig):
        return "the `tls` in temporal.toml"
    return given[0] if given else "TEMPORAL_API_KEY"


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
