"""The settings from the environment.

Two parts are read elsewhere: Temporal's own by `temporalio.envconfig`, MESSAGE_BATCHES_DEBUG by `cli/options.py`.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, TypeAdapter, ValidationError

from message_batches.api.credentials import read_api_keys, read_base_url
from message_batches.api.keys import ApiKeys
from message_batches.api.network import Network, read_network
from message_batches.contract import DEFAULT_TASK_QUEUE
from message_batches.encryption.keys import EncryptionKey, read_keys
from message_batches.errors import MessageBatchesError, why
from message_batches.models import MaxCost
from message_batches.prices import PriceList, read_prices
from message_batches.webhooks.endpoints import Endpoints, read_endpoints

T = TypeVar("T")
DEFAULT_DEPLOYMENT = "message-batches"
DEFAULT_BASE_URL = "https://api.anthropic.com"
_KEYS_FILE = "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE"
_KEYS = "MESSAGE_BATCHES_ENCRYPTION_KEYS"
_TOKEN = "MESSAGE_BATCHES_CODEC_TOKEN"
_UI_URL = "MESSAGE_BATCHES_UI_URL"
_MAX_COST = "MESSAGE_BATCHES_MAX_COST"
_MIN_TOKEN_LENGTH = 16


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

    store_url: str
    scratch: Path | None
    task_queue: str
    release: Release
    _environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, *, calls_api: bool = True) -> "Settings":
        """Read the documented variables; `InvalidSettings` names the first that is not valid.

        Args:
            environment: by default that of the process.
            calls_api: False for a process that may never call the API: what only its calls need is read, and refused,
                when it is first used.
        """
        env = dict(os.environ if environment is None else environment)
        scratch = env.get("MESSAGE_BATCHES_SCRATCH", "").strip()
        if scratch and not os.path.isdir(scratch):  # False also for text that cannot be a path.
            raise InvalidSettings("MESSAGE_BATCHES_SCRATCH is not valid: expected a directory that exists")
        settings = cls(
            store_url=env.get("MESSAGE_BATCHES_STORE", "").strip() or _default_store(env),
            scratch=Path(scratch) if scratch else None,
            task_queue=env.get("MESSAGE_BATCHES_TASK_QUEUE", "").strip() or DEFAULT_TASK_QUEUE,
            release=_release(env),
            _environment=env,
        )
        if calls_api:
            _ = (
                settings.keys,
                settings.base_url,
                settings.network,
                settings.prices,
                settings.max_cost,
                settings.webhooks,
            )
        return settings

    @cached_property
    def keys(self) -> ApiKeys:
        """The API keys, and what belongs to each."""
        return _valid(read_api_keys, self._environment)

    @cached_property
    def base_url(self) -> str:
        """The API's address, for keys without one of their own."""
        return _valid(read_base_url, self._environment) or DEFAULT_BASE_URL

    @cached_property
    def network(self) -> Network:
        """The proxies and the certificates."""
        return _valid(read_network, self._environment)

    @cached_property
    def prices(self) -> PriceList:
        """The prices of models: the operator's own, and the list's."""
        return _valid(read_prices, self._environment)

    @cached_property
    def ui_url(self) -> str | None:
        """The address of Temporal's Web UI; None if it is not set."""
        url = self._environment.get(_UI_URL, "").strip().rstrip("/")
        if url and not url.startswith(("http://", "https://")):
            raise InvalidSettings(f"{_UI_URL} is not valid: expected an address that begins with http:// or https://")
        return url or None

    @cached_property
    def max_cost(self) -> Decimal | None:
        """The most that the requests of a run may cost, in USD; None without a limit."""
        return _valid(_max_cost, self._environment)

    @cached_property
    def webhooks(self) -> Endpoints:
        """The webhooks, by name."""
        return _valid(read_endpoints, self._environment)

    @property
    def store_options(self) -> dict[str, Any]:
        """The options of the object store; a folder needs no network."""
        return {} if self.store_url.startswith("file:") else self.network.store_options


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
        raise InvalidSettings(f"{_KEYS_FILE} is not valid: expected a file that can be read ({why(error)})") from None
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


def _max_cost(env: Mapping[str, str]) -> Decimal | None:
    text = env.get(_MAX_COST, "").strip()
    try:
        return TypeAdapter(MaxCost).validate_python(text) if text else None
    except ValidationError:
        raise ValueError(f"{_MAX_COST} is not valid: expected US dollars, such as 25 or 0.50") from None


def _valid(read: Callable[[Mapping[str, str]], T], env: Mapping[str, str]) -> T:
    try:
        return read(env)
    except ValueError as error:
        raise InvalidSettings(str(error)) from None


def _default_store(env: Mapping[str, str]) -> str:
    data = env.get("XDG_DATA_HOME", "").strip()
    home = Path(data) if data else Path.home() / ".local" / "share"
    return (home / "message-batches").absolute().as_uri()
