"""Reading the webhooks from the environment: address, secrets and format of each, and the private networks allowed.

An address may itself be a secret, as that of a chat is: errors and banners name the variable, or the host alone.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from message_batches.api.credentials import SECRETS, WEBHOOK_FILES
from message_batches.errors import why
from message_batches.webhooks.events import WEBHOOK_NAME

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_VARIABLE, _ALLOW = "MESSAGE_BATCHES_WEBHOOK", "MESSAGE_BATCHES_WEBHOOKS_ALLOW"
_URL, _SECRET, _FORMAT = "url", "secret", "format"
_SUFFIXES = {_URL: "", _SECRET: "_SECRET", _FORMAT: "_FORMAT"}
"""The ends of the variables of a webhook; `WEBHOOK_FILES` has those of the files in the secrets directory."""
_SECRET_BYTES = range(24, 65)
"""Bytes of a secret, by the Standard Webhooks specification."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "3fff::/20", "5f00::/16", "fec0::/10"),
    )
)
"""Networks that some versions of Python take for global.

Source: https://www.iana.org/assignments/iana-ipv6-special-registry and its page for IPv4; RFC 3879 for fec0::/10"""


class WebhookFormat(StrEnum):
    """The shape of what a webhook receives."""

    STANDARD = "standard"
    """Standard Webhooks: the event as JSON, signed."""
    SLACK = "slack"
    """A message for a chat, in Slack's Block Kit, not signed."""


@dataclass(frozen=True)
class Endpoint:
    """A webhook.

    Attributes:
        url: where it is sent to.
        secrets: each signs it, the newest first; a receiver accepts any of them.
    """

    name: str
    url: SecretStr
    secrets: tuple[SecretStr, ...] = ()
    format: WebhookFormat = WebhookFormat.STANDARD

    @property
    def host(self) -> str:
        """The host of its address, and the port if it has one."""
        return urlsplit(self.url.get_secret_value()).netloc

    def __str__(self) -> str:
        """Format its name, its host, and a format that is not the usual one."""
        shape = "" if self.format is WebhookFormat.STANDARD else f", {self.format}"
        return f"{self.name} ({self.host}{shape})"


@dataclass(frozen=True)
class Endpoints:
    """The webhooks of a process.

    Attributes:
        by_name: each by its name.
        allowed: the networks that they may be in, although these are not public.
    """

    by_name: Mapping[str, Endpoint] = field(default_factory=dict)
    allowed: tuple[IpNetwork, ...] = ()

    def allows(self, address: IpAddress, *, tls: bool) -> bool:
        """Return whether a webhook may be sent to an address: a public one over TLS, or one in an allowed network."""
        shown = [address, *_embedded(address)]
        if any(_within(self.allowed, each) for each in shown):
            return True
        return tls and all(
            each.is_global and not each.is_multicast and not _within(_NOT_PUBLIC, each) for each in shown
        )

    def __str__(self) -> str:
        """Format the names, each with its host."""
        return ", ".join(str(self.by_name[name]) for name in sorted(self.by_name))


_Given = dict[tuple[str, str], tuple[str, str]]
"""Values by kind and name: what errors call the place, and the text."""


def read_endpoints(env: Mapping[str, str]) -> Endpoints:
    """Read the webhooks of the secrets directory, and those of the environment, which go first.

    `ValueError` names the first variable or file that is not valid, and never repeats its content.
    """
    given = _files(env.get(SECRETS, "").strip()) | _variables(env)
    for kind, name in given:
        if (_URL, name) not in given:
            where, variable = given[kind, name][0], _variable(name)
            raise ValueError(f"{where} is set, but not the address of the webhook {name!r}: set {variable}")
    endpoints = (_endpoint(name, given) for kind, name in given if kind == _URL)
    return Endpoints({each.name: each for each in endpoints}, _networks(env.get(_ALLOW, "")))


def _variables(env: Mapping[str, str]) -> _Given:
    found: _Given = {}
    for variable, value in env.items():
        if not variable.startswith(f"{_VARIABLE}_") or not value.strip():
            continue
        kind = next((kind for kind, suffix in _SUFFIXES.items() if suffix and variable.endswith(suffix)), _URL)
        name = variable.removeprefix(f"{_VARIABLE}_").removesuffix(_SUFFIXES[kind]).lower().replace("_", "-")
        if not WEBHOOK_NAME.fullmatch(name):
            raise ValueError(f"{variable} is not valid: a webhook's name has A-Z, 0-9 and _, at most 32 of them")
        found[kind, name] = (variable, value.strip())
    return found


def _files(directory: str) -> _Given:
    found: _Given = {}
    for kind in _SUFFIXES:
        for path in sorted(Path(directory).glob(f"*.{WEBHOOK_FILES[kind]}")) if directory else ():
            name = path.name.removesuffix(f".{WEBHOOK_FILES[kind]}")
            try:
                if WEBHOOK_NAME.fullmatch(name):
                    found[kind, name] = (f"the file {path}", path.read_text(encoding="utf-8", errors="replace").strip())
            except OSError as error:
                raise ValueError(f"the file {path} cannot be read ({why(error)})") from None
    return found


def _variable(name: str) -> str:
    return f"{_VARIABLE}_{name.upper().replace('-', '_')}"


def _endpoint(name: str, given: _Given) -> Endpoint:
    where, url = given[_URL, name]
    _check_url(where, url)
    shape_at, text = given.get((_FORMAT, name), ("", WebhookFormat.STANDARD))
    try:
        shape = WebhookFormat(text)
    except ValueError:
        raise ValueError(f"{shape_at} is not valid: expected {' or '.join(WebhookFormat)}") from None
    secret_at, secrets = given.get((_SECRET, name), ("", ""))
    if not secrets and shape is WebhookFormat.STANDARD:
        raise ValueError(
            f"{where} has no secret to sign with: set {_variable(name)}{_SUFFIXES[_SECRET]} to what "
            '`echo "whsec_$(openssl rand -base64 32)"` prints, and give it to the receiver'
        )
    return Endpoint(name, SecretStr(url), tuple(_secret(secret_at, each) for each in secrets.split()), shape)


def _check_url(variable: str, url: str) -> None:
    try:
        split = urlsplit(url)
        valid = bool(split.hostname) and split.port != 0 and split.scheme in ("https", "http")
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url or "#" in url:
        raise ValueError(f"{variable} is not valid: expected an address that begins with https://")
    if "@" in split.netloc:
        raise ValueError(f"{variable} is not valid: expected an address without user and password")


def _secret(variable: str, text: str) -> SecretStr:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith("whsec_") or len(key) not in _SECRET_BYTES:
        raise ValueError(
            f"{variable} is not valid: expected whsec_ and {_SECRET_BYTES.start} to {_SECRET_BYTES.stop - 1} bytes in "
            "base64; while it is replaced, the new one, a blank, and the old one"
        )
    return SecretStr(text)


def _networks(text: str) -> tuple[IpNetwork, ...]:
    try:
        return tuple(ipaddress.ip_network(each) for each in re.split(r"[,\s]+", text.strip()) if each)
    except ValueError:
        raise ValueError(
            f"{_ALLOW} is not valid: expected networks such as 10.1.0.0/16 or 127.0.0.1, with commas between"
        ) from None


def _within(networks: Iterable[IpNetwork], address: IpAddress) -> bool:
    return any(address.version == each.version and address in each for each in networks)


def _embedded(address: IpAddress) -> list[IpAddress]:
    """Return the IPv4 addresses that an IPv6 one leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[IpAddress | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]
