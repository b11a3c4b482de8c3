"""The settings from the environment.

Two parts are read elsewhere: Temporal's own by `temporalio.envconfig`, MESSAGE_BATCHES_DEBUG by `cli/options.py`.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from message_batches.api.keys import _KEY_VARIABLE, DEFAULT_KEY, KEY_NAME, ApiKeys, variable_of
from message_batches.api.network import DIRECT, Network, Proxy, split_port
from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.encryption.keys import EncryptionKey, read_keys
from message_batches.errors import MessageBatchesError

DEFAULT_DEPLOYMENT = "message-batches"
DEFAULT_BASE_URL = "https://api.anthropic.com"
_BASE_URL = "ANTHROPIC_BASE_URL"
_KEYS_FILE = "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE"
_KEYS = "MESSAGE_BATCHES_ENCRYPTION_KEYS"
_SECRETS = "MESSAGE_BATCHES_SECRETS"
_TOKEN = "MESSAGE_BATCHES_CODEC_TOKEN"
_CERT_FILE, _CERT_DIR = "SSL_CERT_FILE", "SSL_CERT_DIR"
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_MIN_TOKEN_LENGTH = 16
_BASE_URL_FORM = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/?#:\[\]]+)(:[0-9]{1,5})?(/[^\s?#]*)?")


class InvalidSettings(MessageBatchesError):
    """A variable of the environment has an invalid value; only its name is repeated, since the value may be a key."""


@dataclass(frozen=True)
class Release:
    """The Temporal worker deployment and build of this worker; without a build, runs go to any worker.

    Source: https://docs.temporal.io/worker-versioning
    """

    deployment: str = DEFAULT_DEPLOYMENT
    build_id: str | None = None

    def __str__(self) -> str:
        """Format it as Temporal does; empty without a build."""
        return f"{self.deployment}:{self.build_id}" if self.build_id else ""


@dataclass(frozen=True)
class Settings:
    """The settings of a worker or a client, from its environment."""

    keys: ApiKeys
    base_url: str
    store_url: str
    scratch: Path | None
    task_queue: str
    release: Release = Release()
    network: Network = DIRECT

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the documented variables; `InvalidSettings` names the first that is not valid."""
        env = os.environ if environment is None else environment
        scratch = env.get("MESSAGE_BATCHES_SCRATCH", "").strip()
        if scratch and not os.path.isdir(scratch):  # False also for text that cannot be a path.
            raise InvalidSettings("MESSAGE_BATCHES_SCRATCH is not valid: expected a directory that exists")
        return cls(
            keys=_keys(env),
            base_url=_base_url(env, _BASE_URL) or DEFAULT_BASE_URL,
            store_url=env.get("MESSAGE_BATCHES_STORE", "").strip() or _default_store(env),
            scratch=Path(scratch) if scratch else None,
            task_queue=env.get("MESSAGE_BATCHES_TASK_QUEUE", "").strip() or DEFAULT_TASK_QUEUE,
            release=_release(env),
            network=_network(env),
        )


def display_command(environment: Mapping[str, str] | None = None) -> str | None:
    """Return how users call the command line, where its process cannot know it, such as in a container."""
    env = os.environ if environment is None else environment
    return env.get("MESSAGE_BATCHES_COMMAND", "").strip() or None


def encryption_keys(environment: Mapping[str, str] | None = None) -> tuple[EncryptionKey, ...]:
    """Return the keys for payloads: the first encrypts, all decrypt; none if encryption is off."""
    env = os.environ if environment is None else environment
    file, written = (env.get(name, "").strip() for name in (_KEYS_FILE, _KEYS))
    if file and written:
        raise InvalidSettings(f"{_KEYS_FILE} and {_KEYS} are both set: set only one of them")
    if not file and not written:
        return ()
    try:
        return read_keys(Path(file).read_text(encoding="utf-8", errors="replace") if file else written)
    except OSError as error:
        raise InvalidSettings(
            f"{_KEYS_FILE} is not valid: expected a file that can be read ({error.strerror})"
        ) from None
    except ValueError as error:
        raise InvalidSettings(f"{_KEYS_FILE if file else _KEYS} is not valid: {error}") from None


def codec_token(environment: Mapping[str, str] | None = None) -> SecretStr | None:
    """Return the token that callers of the codec server must send; None if it is not set."""
    env = os.environ if environment is None else environment
    token = env.get(_TOKEN, "").strip()
    if token and (len(token) < _MIN_TOKEN_LENGTH or not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token)):
        raise InvalidSettings(
            f"{_TOKEN} is not valid: expected {_MIN_TOKEN_LENGTH} or more characters of a bearer token, such as the "
            "output of `openssl rand -hex 32`"
        )
    return SecretStr(token) if token else None


def _release(env: Mapping[str, str]) -> Release:
    deployment = env.get("MESSAGE_BATCHES_DEPLOYMENT", "").strip() or DEFAULT_DEPLOYMENT
    build_id = env.get("MESSAGE_BATCHES_BUILD_ID", "").strip() or None
    # Temporal ends the name at its first dot or colon.
    for variable, word, also in (
        ("MESSAGE_BATCHES_DEPLOYMENT", deployment, "_-"),
        ("MESSAGE_BATCHES_BUILD_ID", build_id, "_.-"),
    ):
        if word and not re.fullmatch(f"[A-Za-z0-9{also}]{{1,100}}", word):
            raise InvalidSettings(f"{variable} is not valid: expected 1 to 100 of a-z, A-Z, 0-9 and {also}")
    return Release(deployment, build_id)


def _keys(env: Mapping[str, str]) -> ApiKeys:
    """Read the keys of the secrets directory, a file for each name, then those of the environment."""
    secrets: dict[str, SecretStr] = {}
    directory = env.get(_SECRETS, "").strip()
    try:
        for path in sorted(Path(directory).iterdir()) if directory else ():
            if path.is_file() and KEY_NAME.fullmatch(path.name):
                secrets[path.name] = _secret(f"the file {path}", path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise InvalidSettings(
            f"{_SECRETS} is not valid: expected a directory of files that can be read ({why})"
        ) from None
    for variable, value in env.items():
        name = DEFAULT_KEY if variable == _KEY_VARIABLE else _name_in(variable, _KEY_VARIABLE)
        if value.strip() and KEY_NAME.fullmatch(name):
            secrets[name] = _secret(variable, value)
    base_urls = {}
    for variable in env:
        name = _name_in(variable, _BASE_URL)
        if KEY_NAME.fullmatch(name) and (base_url := _base_url(env, variable)):
            if name not in secrets:
                raise InvalidSettings(f"{variable} is set, but there is no key named {name!r}: set {variable_of(name)}")
            base_urls[name] = base_url
    return ApiKeys(secrets, base_urls)


def _network(env: Mapping[str, str]) -> Network:
    """Read the proxies and certificates, whose variables other programs know too; lower case goes first, as there."""
    proxies: dict[str, Proxy] = {}
    for variable, schemes in (("ALL_PROXY", ("http", "https")), ("HTTP_PROXY", ("http",)), ("HTTPS_PROXY", ("https",))):
        name, value = _either_case(env, variable)
        if value:
            proxies |= dict.fromkeys(schemes, _proxy(name, value))
    endpoint = env.get("AWS_ENDPOINT_URL", "") or env.get("AWS_ENDPOINT", "")
    return Network(
        proxies=proxies,
        direct=_direct(*_either_case(env, "NO_PROXY")),
        cert_file=_certificates(env.get(_CERT_FILE, "").strip()),
        cert_dirs=_certificate_directories(env.get(_CERT_DIR, "").strip()),
        store_scheme="http" if endpoint.startswith("http://") else "https",
    )


def _either_case(env: Mapping[str, str], variable: str) -> tuple[str, str]:
    name = variable.lower() if variable.lower() in env else variable
    return name, env.get(name, "").strip()


def _proxy(variable: str, value: str) -> Proxy:
    url = value if "://" in value else f"http://{value}"
    try:
        split = urlsplit(url)
        valid = split.hostname and split.port != 0 and not (split.path.strip("/") or split.query or split.fragment)
    except ValueError:
        valid = False
    if (
        not valid
        or not value.isascii()
        or not value.isprintable()
        or " " in value
        or split.scheme not in _PROXY_SCHEMES
    ):
        raise InvalidSettings(
            f"{variable} is not valid: expected the address of a proxy, such as http://proxy.example:3128; its schemes "
            f"are {', '.join(_PROXY_SCHEMES)}"
        )
    if split.scheme.startswith("socks") and not find_spec("socksio"):
        raise InvalidSettings(
            f"{variable} names a SOCKS proxy, which this installation cannot use: install `message-batches[socks]`, "
            "set an http:// proxy, or unset the variable"
        )
    return Proxy(variable, SecretStr(url.rstrip("/")))


def _direct(variable: str, value: str) -> tuple[str, ...]:
    entries = tuple(filter(None, re.split(r"[,\s]+", value)))
    for entry in entries:
        host, port = split_port(entry)
        if (
            not re.fullmatch(r"\*|(\*?\.)?[A-Za-z0-9_.-]+(/\d{1,3})?|[0-9A-Fa-f:.]+(/\d{1,3})?", host)
            or (port or 0) > 65535
        ):
            raise InvalidSettings(
                f"{variable} is not valid: expected hosts, domains and networks, separated by commas, such as "
                "localhost,.example.com,10.0.0.0/8"
            )
    return entries


def _certificates(file: str) -> Path | None:
    if not file:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except (OSError, ValueError) as error:
        why = "no certificate in it" if isinstance(error, ssl.SSLError) else getattr(error, "strerror", "not a path")
        raise InvalidSettings(
            f"{_CERT_FILE} is not valid: expected a file of certificates in PEM form ({why})"
        ) from None
    return Path(file)


def _certificate_directories(value: str) -> tuple[Path, ...]:
    directories = tuple(filter(None, value.split(os.pathsep)))
    if not all(map(os.path.isdir, directories)):  # False also for text that cannot be a path.
        raise InvalidSettings(f"{_CERT_DIR} is not valid: expected directories of certificates that exist")
    return tuple(map(Path, directories))


def _name_in(variable: str, prefix: str) -> str:
    """Return the name of the key that a variable belongs to; empty if it belongs to none."""
    return variable.removeprefix(f"{prefix}_").lower().replace("_", "-") if variable.startswith(f"{prefix}_") else ""


def _base_url(env: Mapping[str, str], variable: str) -> str | None:
    base_url = env.get(variable, "").strip().rstrip("/")
    if "@" in base_url:
        raise InvalidSettings(
            f"{variable} is not valid: expected an address without user and password, since it is shown. Set the "
            f"credential of a gateway in {_KEY_VARIABLE} or {_KEY_VARIABLE}_<NAME>; it is sent as x-api-key"
        )
    if base_url and not _BASE_URL_FORM.fullmatch(base_url):
        raise InvalidSettings(f"{variable} is not valid: expected https:// or http://, a host and perhaps a path")
    return base_url or None


def _secret(where: str, value: str) -> SecretStr:
    """Return a key that can be a header; no error repeats it."""
    key = value.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidSettings(f"{where} is not valid: expected a key as one line of printable ASCII without spaces")
    return SecretStr(key)


def _default_store(env: Mapping[str, str]) -> str:
    data = env.get("XDG_DATA_HOME", "").strip()
    home = Path(data) if data else Path.home() / ".local" / "share"
    return (home / "message-batches").absolute().as_uri()
