"""API keys: their names, and the keys that a process holds under these names."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from message_batches.errors import UnknownKey
from message_batches.serialization import ContractModel

KEY_NAME = re.compile(r"(?!sk-)[a-z0-9-]{1,32}")


def may_be_a_key(text: str) -> bool:
    """Return whether a text begins as the API's keys do."""
    return text.lstrip().startswith("sk-")


def no_key(text: str) -> str:
    """Return the text; raise `ValueError`, without repeating the text, if it may be a key in the wrong place."""
    if may_be_a_key(text):
        raise ValueError("what begins with sk- may be a key, and does not belong here. If it is one, rotate it")
    return text


def check_key_name(name: str) -> None:
    """Raise `UnknownKey` unless the text can be a key's name; the text is not repeated, since it may be a key."""
    if not KEY_NAME.fullmatch(name):
        raise UnknownKey(
            "apiKey must be the name of a key that the worker holds (lower-case letters, digits, '-', at most 32), "
            "never a key. If a key was passed, it is now readable in this run's start event: rotate it. "
            "Nothing was sent."
        )


DEFAULT_KEY = "default"

# A caller's texts go into histories, messages and paths: one that is a key is refused, and repeated nowhere.
NoKey = AfterValidator(no_key)
KEY_VARIABLE = "ANTHROPIC_API_KEY"

RESERVED_HEADERS = frozenset(
    (
        *("anthropic-beta", "anthropic-version", "x-api-key"),
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
"""Headers that a custom one may not replace: they are the call's own."""

_WORKSPACE = "anthropic-workspace-id"
_WORD_ENDS = re.compile(r"[\s,;=:\"]")
_MIN_SECRET = 12
"""Fewest characters of a header's value that may be a secret: a word such as a provider's name occurs in answers."""


class Account(ContractModel):
    """An API key by its name, and where it is used: a batch id means nothing to another account.

    Attributes:
        base_url: the API, or a gateway.
        workspace_id: that the key's calls name, for a key that spans workspaces.
    """

    api_key: str
    base_url: str
    workspace_id: str | None = None

    @property
    def part(self) -> str:
        """The part of a path that names it."""
        return f"{self.api_key}-{_digest(self.base_url, self.workspace_id or '')}"


@dataclass(frozen=True)
class ApiKeys:
    """The keys a process holds, by name.

    Attributes:
        secrets: the API key, or the token.
        base_urls: the base URLs of keys whose calls go to another server.
        tokens: the names whose secret is a token, which is sent as `Authorization: Bearer`.
        headers: further headers of the calls with a key; their values are secret too.
        workspaces: the workspace ids of keys that span workspaces; not secret, since every answer names its workspace.
        other_files: the files of the directory of secrets that are not named as a key is, and so were not read.
    """

    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    base_urls: Mapping[str, str] = field(default_factory=dict)
    tokens: frozenset[str] = frozenset()
    headers: Mapping[str, Mapping[str, SecretStr]] = field(default_factory=dict)
    workspaces: Mapping[str, str] = field(default_factory=dict)
    other_files: tuple[str, ...] = ()

    def secret(self, name: str) -> SecretStr:
        """Return the key of that name; raise `UnknownKey` without repeating the text, which may be a key."""
        check_key_name(name)
        try:
            return self.secrets[name]
        except KeyError:
            held = ", ".join(self.names) or "none"
            raise UnknownKey(
                f"This worker holds no key named {name!r} (it holds: {held}). Start it with {variable_of(name)} set, "
                "or pass the name of a key that it holds. Nothing was sent."
            ) from None

    def headers_of(self, name: str) -> dict[str, str]:
        """Return the headers that authenticate a call with that key, its workspace, and its further headers."""
        secret = self.secret(name).get_secret_value()
        workspace = {_WORKSPACE: self.workspaces[name]} if name in self.workspaces else {}
        own = {"authorization": f"Bearer {secret}"} if name in self.tokens else {"x-api-key": secret}
        further = {header: value.get_secret_value() for header, value in self.headers.get(name, {}).items()}
        return further | workspace | own

    def hidden(self, name: str) -> tuple[str, ...]:
        """Return the texts that no answer may repeat: the key, and those values of its headers that may be secrets.

        So for each key of that host: what it has heard with one, it can say to another.
        """
        host = self._host(name)
        known = (self._sent_with(other) for other in (name, *self.secrets) if self._host(other) == host)
        return tuple(dict.fromkeys(text for texts in known for text in texts))

    def _sent_with(self, name: str) -> Iterator[str]:
        yield self.secret(name).get_secret_value()
        for header, value in self.headers.get(name, {}).items():
            text = value.get_secret_value()
            # Also each word, as the token after "Bearer", or a cookie among others.
            words = (text, *_WORD_ENDS.split(text)) if header != _WORKSPACE else ()
            yield from (each for each in words if len(each) >= _MIN_SECRET)

    def _host(self, name: str) -> str:
        return urlsplit(self.base_urls.get(name, "")).netloc.lower()

    def account(self, name: str, base_url: str) -> Account:
        """Return the account of the key of that name; the base URL is that of keys without one of their own."""
        return Account(
            api_key=name, base_url=self.base_urls.get(name, base_url), workspace_id=self.workspaces.get(name)
        )

    def server(self, name: str) -> str | None:
        """Return a name for the server of a key with a base URL of its own, None for the server of all others."""
        return _digest(self.base_urls[name]) if name in self.base_urls else None

    @property
    def servers(self) -> frozenset[str]:
        """The names of the servers of keys with a base URL of their own."""
        return frozenset(map(_digest, self.base_urls.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, in alphabetical order."""
        return tuple(sorted(self.secrets))

    def __str__(self) -> str:
        """Format the names, each with what is its own, and what gives one: if there is none, or a file is no key's."""
        none = (
            f"none: set {variable_of(DEFAULT_KEY)} or ANTHROPIC_AUTH_TOKEN, or have a file {DEFAULT_KEY!r} in "
            "MESSAGE_BATCHES_SECRETS; no run can be sent from here"
        )
        held = ", ".join(map(self._described, self.names)) or none
        if not self.other_files:
            return held
        listed = ", ".join(self.other_files[:5]) + (", ..." if self.other_files[5:] else "")
        return f"{held}; not read, as not a file with the name of a key (lower-case letters, digits, '-'): {listed}"

    def _described(self, name: str) -> str:
        own = ["token"] if name in self.tokens else []
        own += [self.base_urls[name]] if name in self.base_urls else []
        own += [f"headers {', '.join(sorted(self.headers[name]))}"] if self.headers.get(name) else []
        own += ["a workspace"] if name in self.workspaces else []
        return f"{name} ({', '.join(own)})" if own else name


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def variable_of(name: str) -> str:
    """Return the variable that holds the key of that name: `team-a` is `ANTHROPIC_API_KEY_TEAM_A`."""
    return KEY_VARIABLE if name == DEFAULT_KEY else f"{KEY_VARIABLE}_{name.upper().replace('-', '_')}"
