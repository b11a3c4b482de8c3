"""Reading the credentials of the API: keys, tokens, workspaces, further headers and base URLs, each by a key's name.

A text that is refused is not repeated: it may be a secret.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from message_batches.api.keys import (
    DEFAULT_KEY,
    KEY_NAME,
    KEY_VARIABLE,
    RESERVED_HEADERS,
    ApiKeys,
    may_be_a_key,
    variable_of,
)
from message_batches.errors import why

SECRETS = "MESSAGE_BATCHES_SECRETS"
_BASE_URL = "ANTHROPIC_BASE_URL"
_AUTH_TOKEN, _WORKSPACE, _HEADERS = "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_WORKSPACE_ID", "ANTHROPIC_CUSTOM_HEADERS"
_SECRET_FILES = {"": KEY_VARIABLE, "auth-token": _AUTH_TOKEN, "workspace-id": _WORKSPACE, "custom-headers": _HEADERS}
"""The files of the secrets directory: the key's name, a dot, and one of these, which stand for the variables."""
WEBHOOK_FILES = {"url": "webhook-url", "secret": "webhook-secret", "format": "webhook-format"}
"""Those that are about a webhook, whose name is before the dot; they are read with the webhooks."""

_CREDENTIALS = (KEY_VARIABLE, _AUTH_TOKEN)
_BASE_URL_FORM = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/?#:\[\]]+)(:[0-9]{1,5})?(/[^\s?#]*)?")


_Given = dict[tuple[str, str], tuple[str, str]]
"""Values by kind and key name: what errors call the place, and the text."""


def read_api_keys(env: Mapping[str, str]) -> ApiKeys:
    """Read the keys of the secrets directory, and those of the environment, which go first."""
    (files, others), variables = _files(env), _variables(env)
    for place in (files, variables):
        _refuse_two(place)
    for kind, name in variables:
        if kind in _CREDENTIALS:
            for other in _CREDENTIALS:
                files.pop((other, name), None)
    given = files | variables
    secrets = {name: _secret(*value) for (kind, name), value in given.items() if kind in _CREDENTIALS}
    keys = ApiKeys(
        secrets=secrets,
        base_urls={
            name: base for (kind, name), value in given.items() if kind == _BASE_URL and (base := _base(*value))
        },
        tokens=frozenset(name for kind, name in given if kind == _AUTH_TOKEN),
        headers={name: _headers(*value) for (kind, name), value in given.items() if kind == _HEADERS},
        workspaces={name: _workspace(*value) for (kind, name), value in given.items() if kind == _WORKSPACE},
        other_files=others,
    )
    for (_, name), (where, _) in given.items():
        if name not in secrets:
            raise ValueError(f"{where} is set, but there is no key named {name!r}: set {variable_of(name)}")
        if name in keys.tokens and "authorization" in keys.headers.get(name, {}):
            where = given[_HEADERS, name][0]
            raise ValueError(f"{where} cannot set authorization, which is the token's: remove that line")
    return keys


def read_base_url(env: Mapping[str, str]) -> str | None:
    """Return the base URL of keys without one of their own; None if it is not set."""
    return _base(_BASE_URL, env.get(_BASE_URL, ""))


def _variables(env: Mapping[str, str]) -> _Given:
    found: _Given = {}
    for variable, value in env.items():
        for kind in (*_CREDENTIALS, _BASE_URL, _HEADERS, _WORKSPACE):
            # The plain base URL is that of all keys.
            name = DEFAULT_KEY if variable == kind != _BASE_URL else _name_in(variable, kind)
            if value.strip() and KEY_NAME.fullmatch(name):
                found[kind, name] = (variable, value)
    return found


def _files(env: Mapping[str, str]) -> tuple[_Given, tuple[str, ...]]:
    """Return the files that are named as a key is, and the names of the others, but for hidden ones."""
    found: _Given = {}
    others = []
    directory = env.get(SECRETS, "").strip()
    try:
        for path in sorted(Path(directory).iterdir()) if directory else ():
            name, _, suffix = path.name.partition(".")
            if path.is_file() and KEY_NAME.fullmatch(name) and suffix in _SECRET_FILES:
                text = path.read_text(encoding="utf-8", errors="replace")
                found[_SECRET_FILES[suffix], name] = (f"the file {path}", text)
            elif not path.name.startswith(".") and suffix not in WEBHOOK_FILES.values():
                # One that is itself a key is not repeated.
                others.append(path.name if re.fullmatch(r"(?!sk-)[A-Za-z0-9._~-]{1,40}", path.name) else "another")
    except (OSError, ValueError) as error:
        reason = why(error) if isinstance(error, OSError) else "not a path"
        raise ValueError(f"{SECRETS} is not valid: expected a directory of files that can be read ({reason})") from None
    return found, tuple(others)


def _refuse_two(given: _Given) -> None:
    """Refuse a key and a token of one name: the official clients take the key, and the caller may mean the token."""
    for kind, name in given:
        if kind == _AUTH_TOKEN and (KEY_VARIABLE, name) in given:
            both = " and ".join(given[each, name][0] for each in _CREDENTIALS)
            raise ValueError(f"{both} are both set for the key {name!r}: set only one of them")


def _headers(where: str, text: str) -> dict[str, SecretStr]:
    """Read `Name: value` lines as the official clients do: a line without a colon is no header."""
    found: dict[str, SecretStr] = {}
    for line in text.split("\n"):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon:
            continue
        if (
            not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", name)
            or not value.isascii()
            or not value.isprintable()
        ):
            raise ValueError(f"{where} is not valid: expected lines of the form Name: value, in printable ASCII")
        if name.lower() in RESERVED_HEADERS:
            raise ValueError(f"{where} cannot set {name.lower()}, which is the call's own: remove that line")
        found[name.lower()] = SecretStr(value)
    return found


def _workspace(where: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text.strip()) or may_be_a_key(text):
        raise ValueError(f"{where} is not valid: expected the id of a workspace, such as wrkspc_01AbC")
    return text.strip()


def _name_in(variable: str, prefix: str) -> str:
    """Return the name of the key that a variable belongs to; empty if it belongs to none."""
    return variable.removeprefix(f"{prefix}_").lower().replace("_", "-") if variable.startswith(f"{prefix}_") else ""


def _base(variable: str, value: str) -> str | None:
    base_url = value.strip().rstrip("/")
    if "@" in base_url:
        raise ValueError(
            f"{variable} is not valid: expected an address without user and password, since it is shown. Set the "
            f"credential of a gateway in {KEY_VARIABLE} (sent as x-api-key) or {_AUTH_TOKEN} (as a bearer token)"
        )
    if base_url and not _BASE_URL_FORM.fullmatch(base_url):
        raise ValueError(f"{variable} is not valid: expected https:// or http://, a host and perhaps a path")
    return base_url or None


def _secret(where: str, value: str) -> SecretStr:
    """Return a key that can be a header; no error repeats it."""
    key = value.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{where} is not valid: expected a key as one line of printable ASCII without spaces")
    return SecretStr(key)
