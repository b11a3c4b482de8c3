"""The way to servers: a process's proxies, the hosts that are reached without one, and the trusted certificates."""

import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

LOOPBACK = ("localhost", "127.0.0.0/8", "::1", "0.0.0.0", "::")
"""Hosts that are never reached through a proxy: it would look for them on its own machine."""

_LOCAL = "<local>"
"""Hosts without a dot, in the lists that Windows has."""

_CERT_FILE, _CERT_DIR = "SSL_CERT_FILE", "SSL_CERT_DIR"
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_EVERYTHING = ("*", "0.0.0.0/0", "::/0")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """A proxy, as a variable names it.

    Attributes:
        variable: its name.
        url: with user and password, if it has any.
    """

    variable: str
    url: SecretStr

    def __str__(self) -> str:
        """Format the URL without user and password, and the variable."""
        scheme, _, rest = self.url.get_secret_value().partition("://")
        user, at, host = rest.rpartition("@")
        return f"{scheme}://{'***@' if at and user else ''}{host} ({self.variable})"


@dataclass(frozen=True)
class Network:
    """The proxies and the certificates that calls of this process use; without any, hosts are reached directly.

    Attributes:
        proxies: by the scheme of the URL that is called, `http` or `https`.
        direct: the entries of `NO_PROXY`: hosts with all names below them, networks, `*`; each perhaps with a port.
        ignored: those of its entries that name no host.
        cert_file: certificates that are trusted in place of the usual ones.
        cert_dirs: directories of such certificates, as OpenSSL names them.
        store_endpoint: the object store's, if it is not its provider's.
    """

    proxies: Mapping[str, Proxy] = field(default_factory=dict)
    direct: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    cert_file: Path | None = None
    cert_dirs: tuple[Path, ...] = ()
    store_endpoint: str = ""

    def proxy_for(self, scheme: str, host: str, port: int | None) -> Proxy | None:
        """Return the proxy for a call, None if it is made directly."""
        proxy = self.proxies.get(scheme)
        if proxy is None:
            return None
        port = port or _PORTS.get(scheme)
        name = _name(host.strip("[]"))
        return None if any(_matches(entry, name, port) for entry in (*LOOPBACK, *self.direct)) else proxy

    @property
    def passwords(self) -> tuple[str, ...]:
        """The proxies' passwords: one without TLS may answer in the API's place, and repeat its own."""
        found = (urlsplit(proxy.url.get_secret_value()).password for proxy in self.proxies.values())
        return tuple(unquote(each) for each in found if each)

    @property
    def store_options(self) -> dict[str, Any]:
        """The options of an object store, which would otherwise read the variables itself, and proxy loopback too."""
        if not self.proxies:
            return {}
        endpoint = urlsplit(self.store_endpoint)
        scheme = "http" if endpoint.scheme == "http" else "https"
        proxy = self.proxies.get(scheme)
        if proxy and endpoint.hostname:
            proxy = self.proxy_for(scheme, endpoint.hostname, endpoint.port)
        # It knows hosts, domains and networks; its `*` is for names alone.
        names = [name for name, port in map(split_port, self.direct) if port in (None, _PORTS[scheme])]
        excluded = _EVERYTHING if proxy is None or "*" in names else (*LOOPBACK, *(n.removeprefix("*.") for n in names))
        used = proxy or next(iter(self.proxies.values()))
        return {"proxy_url": used.url.get_secret_value(), "proxy_excludes": ",".join(excluded)}

    @property
    def lines(self) -> list[str]:
        """What is set, a line each for a worker's banner; no password is in it."""
        by_scheme = {
            str(proxy): [s for s, other in self.proxies.items() if other == proxy] for proxy in self.proxies.values()
        }
        found = [f"proxy  {shown} for {' and '.join(schemes)}" for shown, schemes in by_scheme.items()]
        if self.proxies and self.direct:
            found.append(f"direct {', '.join(self.direct)} (NO_PROXY)")
        if self.proxies and self.ignored:
            shown = ", ".join(repr(entry.rpartition("@")[2][:80]) for entry in self.ignored)
            found.append(f"ignores {shown} in NO_PROXY: not a host, a domain or a network")
        if self.cert_file:
            found.append(f"trusts {self.cert_file} (SSL_CERT_FILE)")
        if self.cert_dirs:
            found.append(f"trusts {', '.join(map(str, self.cert_dirs))} (SSL_CERT_DIR)")
        return found


DIRECT = Network()
"""No proxy, and the usual certificates."""


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Return whether an entry of `NO_PROXY` names a host: by itself, as a domain above it, or as its network."""
    pattern, only = split_port(entry)
    if only is not None and only != port:
        return False
    address = _address(host)
    if address is None and pattern == _LOCAL:
        return "." not in host
    if address and (network := _network(pattern)):
        return address in network
    domain = pattern.removeprefix("*").strip(".")
    return fnmatchcase(host, pattern) or host == domain or host.endswith(f".{domain}")


def _name(host: str) -> str:
    """Return a host as it is compared: in lower case, in ASCII, without the dot of the root."""
    with suppress(UnicodeError):  # Else it is no host, and is not found.
        host = host if host.isascii() else host.encode("idna").decode()
    return host.lower().rstrip(".")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, in any spelling that a connection takes: `127.1` is loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[0-9a-fx.]+", host):
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def split_port(entry: str) -> tuple[str, int | None]:
    """Split an entry of `NO_PROXY` into its host, without brackets, and its port."""
    host, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and (host.count(":") == 0 or host.endswith("]")):
        return host.strip("[]"), int(port)
    return entry.strip("[]"), None


def read_network(env: Mapping[str, str]) -> Network:
    """Read the proxies and certificates, whose variables other programs know too; lower case goes first, as there."""
    proxies: dict[str, Proxy] = {}
    for variable, schemes in (("ALL_PROXY", ("http", "https")), ("HTTP_PROXY", ("http",)), ("HTTPS_PROXY", ("https",))):
        name, value = _either_case(env, variable)
        if value:
            proxies |= dict.fromkeys(schemes, _proxy(name, value))
    direct, ignored = _direct(_either_case(env, "NO_PROXY")[1])
    return Network(
        proxies=proxies,
        direct=direct,
        ignored=ignored,
        cert_file=_certificates(env.get(_CERT_FILE, "").strip()),
        cert_dirs=_certificate_directories(env.get(_CERT_DIR, "").strip()),
        store_endpoint=env.get("AWS_ENDPOINT_URL", "") or env.get("AWS_ENDPOINT", ""),
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
        raise ValueError(
            f"{variable} is not valid: expected the address of a proxy, such as http://proxy.example:3128; its schemes "
            f"are {', '.join(_PROXY_SCHEMES)}"
        )
    if split.scheme.startswith("socks") and not find_spec("socksio"):
        raise ValueError(
            f"{variable} names a SOCKS proxy, which this installation cannot use: install `message-batches[socks]`, "
            "set an http:// proxy, or unset the variable"
        )
    return Proxy(variable, SecretStr(url.rstrip("/")))


def _direct(value: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read the entries of `NO_PROXY`, and those that name no host; other programs ignore these, too.

    curl, httpx and requests separate by commas or blanks, Windows by semicolons; Docker keeps the quotes of a file.
    httpx also takes URLs.
    """
    direct: list[str] = []
    ignored: list[str] = []
    for written in filter(None, re.split(r"[,;\s\"']+", value)):
        entry = _name(re.sub(r"^[a-z]+://|/$", "", written, flags=re.IGNORECASE))
        host, port = split_port(entry)
        named = host == _LOCAL or _network(host) or re.fullmatch(r"[a-z0-9_.*-]*[a-z0-9_*-]", host)
        (direct if named and (port or 0) <= 65535 else ignored).append(entry if named else written)
    return tuple(direct), tuple(ignored)


def _certificates(file: str) -> Path | None:
    if not file:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except (OSError, ValueError) as error:
        why = "no certificate in it" if isinstance(error, ssl.SSLError) else getattr(error, "strerror", "not a path")
        raise ValueError(f"{_CERT_FILE} is not valid: expected a file of certificates in PEM form ({why})") from None
    return Path(file)


def _certificate_directories(value: str) -> tuple[Path, ...]:
    directories = tuple(filter(None, value.split(os.pathsep)))
    if not all(map(os.path.isdir, directories)):  # False also for text that cannot be a path.
        raise ValueError(f"{_CERT_DIR} is not valid: expected directories of certificates that exist")
    return tuple(map(Path, directories))
