"""The environment: the only place that reads it. Temporal's own part is read by `temporalio.envconfig`."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from message_batches.api.keys import _KEY_VARIABLE, DEFAULT_KEY, KEY_NAME, ApiKeys, variable_of
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

_SHORTEST_TOKEN = 16

_BASE_URL_FORM = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/?#:\[\]]+)(:[0-9]{1,5})?(/[^\s?#]*)?")


class InvalidSettings(MessageBatchesError):
    """A variable of the environment holds what cannot be used: its name, not its value, in whose place a key may be."""


@dataclass(frozen=True)
class Release:
    """Which build of the worker this is, of which Temporal worker deployment; without a build, runs go to any worker.

    Source: https://docs.temporal.io/worker-versioning
    """

    deployment: str = DEFAULT_DEPLOYMENT
    build_id: str | None = None

    def __str__(self) -> str:
        """As Temporal writes it; empty without a build."""
        return f"{self.deployment}:{self.build_id}" if self.build_id else ""


@dataclass(frozen=True)
class Settings:
    """What a worker or a starter is told by its environment."""

    keys: ApiKeys
    base_url: str
    store_url: str
    scratch: Path | None
    task_queue: str
    release: Release = Release()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the variables that README lists; `InvalidSettings` names the one that cannot be used."""
        env = os.environ if environment is None else environment
        scratch = env.get("MESSAGE_BATCHES_SCRATCH", "").strip()
        if scratch and not os.path.isdir(scratch):  # False also for what can be no path.
            raise InvalidSettings("MESSAGE_BATCHES_SCRATCH names no directory: make it first")
        return cls(
            keys=_keys(env),
            base_url=_base_url(env, _BASE_URL) or DEFAULT_BASE_URL,
            store_url=env.get("MESSAGE_BATCHES_STORE", "").strip() or _default_store(env),
            scratch=Path(scratch) if scratch else None,
            task_queue=env.get("MESSAGE_BATCHES_TASK_QUEUE", "").strip() or DEFAULT_TASK_QUEUE,
            release=_release(env),
        )


def command_in_use(environment: Mapping[str, str] | None = None) -> str | None:
    """How the starter is called where its own process cannot know it, such as outside the container that it runs in."""
    env = os.environ if environment is None else environment
    return env.get("MESSAGE_BATCHES_COMMAND", "").strip() or None


def encryption_keys(environment: Mapping[str, str] | None = None) -> tuple[EncryptionKey, ...]:
    """The keys for payloads, of which the first encrypts and all decrypt; none where encryption is off."""
    env = os.environ if environment is None else environment
    file, written = (env.get(name, "").strip() for name in (_KEYS_FILE, _KEYS))
    if file and written:
        raise InvalidSettings(f"{_KEYS_FILE} and {_KEYS} are both set: say in one of them which key encrypts")
    if not file and not written:
        return ()
    try:
        return read_keys(Path(file).read_text(encoding="utf-8", errors="replace") if file else written)
    except OSError as error:
        raise InvalidSettings(f"{_KEYS_FILE} names no file that can be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidSettings(f"{_KEYS_FILE if file else _KEYS} cannot be used: {error}") from None


def codec_token(environment: Mapping[str, str] | None = None) -> SecretStr | None:
    """What callers of the codec server must know; None where it is not set."""
    env = os.environ if environment is None else environment
    token = env.get(_TOKEN, "").strip()
    if token and (len(token) < _SHORTEST_TOKEN or not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token)):
        raise InvalidSettings(
            f"{_TOKEN} does not hold a token: {_SHORTEST_TOKEN} or more of the characters that a bearer token may have "
            "are expected, such as `openssl rand -hex 32` gives"
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
            raise InvalidSettings(f"{variable} cannot be used: 1 to 100 of a-z, A-Z, 0-9 and {also} are expected")
    return Release(deployment, build_id)


def _keys(env: Mapping[str, str]) -> ApiKeys:
    """Keys of the secrets directory, one a file named as the key, then those of the environment."""
    secrets: dict[str, SecretStr] = {}
    directory = env.get(_SECRETS, "").strip()
    try:
        for path in sorted(Path(directory).iterdir()) if directory else ():
            if path.is_file() and KEY_NAME.fullmatch(path.name):
                secrets[path.name] = _secret(f"the file {path}", path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise InvalidSettings(f"{_SECRETS} names no directory of files that can be read: {why}") from None
    for variable, value in env.items():
        name = DEFAULT_KEY if variable == _KEY_VARIABLE else _name_in(variable, _KEY_VARIABLE)
        if value.strip() and KEY_NAME.fullmatch(name):
            secrets[name] = _secret(variable, value)
    base_urls = {}
    for variable in env:
        name = _name_in(variable, _BASE_URL)
        if KEY_NAME.fullmatch(name) and (base_url := _base_url(env, variable)):
            if name not in secrets:
                raise InvalidSettings(f"{variable} is set, and there is no key named {name!r}: set {variable_of(name)}")
            base_urls[name] = base_url
    return ApiKeys(secrets, base_urls)


def _name_in(variable: str, prefix: str) -> str:
    """The name of the key that a variable is about; empty if it is about none."""
    return variable.removeprefix(f"{prefix}_").lower().replace("_", "-") if variable.startswith(f"{prefix}_") else ""


def _base_url(env: Mapping[str, str], variable: str) -> str | None:
    base_url = env.get(variable, "").strip().rstrip("/")
    if "@" in base_url:
        raise InvalidSettings(
            f"{variable} holds a user or a password, and would be shown: write the address alone. What a gateway asks "
            f"for goes into {_KEY_VARIABLE} or {_KEY_VARIABLE}_<NAME>, and is sent as x-api-key"
        )
    if base_url and not _BASE_URL_FORM.fullmatch(base_url):
        raise InvalidSettings(f"{variable} is no base URL: https:// or http://, a host and perhaps a path are expected")
    return base_url or None


def _secret(where: str, value: str) -> SecretStr:
    """A key fit to be a header; its text stands in no error."""
    key = value.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidSettings(f"{where} does not hold a key: one line of printable ASCII without spaces is expected")
    return SecretStr(key)


def _default_store(env: Mapping[str, str]) -> str:
    data = env.get("XDG_DATA_HOME", "").strip()
    home = Path(data) if data else Path.home() / ".local" / "share"
    return (home / "message-batches").absolute().as_uri()
