"""The way to servers: a process's proxies, the hosts that are reached without one, and the trusted certificates."""

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

LOOPBACK = ("localhost", "127.0.0.0/8", "::1")
"""Hosts that are never reached through a proxy: it would look for them on its own machine."""


_CERT_FILE, _CERT_DIR = "SSL_CERT_FILE", "SSL_CERT_DIR"
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_EVERYTHING = ("*", "0.0.0.0/0", "::/0")


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
        cert_file: certificates that are trusted in place of the usual ones.
        cert_dirs: directories of such certificates, as OpenSSL names them.
        store_scheme: of the object store's endpoint.
    """

    proxies: Mapping[str, Proxy] = field(default_factory=dict)
    direct: tuple[str, ...] = ()
    cert_file: Path | None = None
    cert_dirs: tuple[Path, ...] = ()
    store_scheme: str = "https"

    def proxy_for(self, scheme: str, host: str, port: int | None) -> Proxy | None:
        """Return the proxy for a call, None if it is made directly."""
        proxy = self.proxies.get(scheme)
        if proxy is None:
            return None
        port = port or {"http": 80, "https": 443}.get(scheme)
        name = host.lower().strip("[]").rstrip(".")
        return None if any(_matches(entry, name, port) for entry in (*LOOPBACK, *self.direct)) else proxy

    @property
    def store_options(self) -> dict[str, Any]:
        """The options of an object store, which would otherwise read the variables itself, and proxy loopback too."""
        if not self.proxies:
            return {}
        proxy = self.proxies.get(self.store_scheme)
        direct = (*LOOPBACK, *self.direct)
        # Its `*` is for names alone.
        excluded = _EVERYTHING if proxy is None or "*" in direct else direct
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
        if self.cert_file:
            found.append(f"trusts {self.cert_file} (SSL_CERT_FILE)")
        if self.cert_dirs:
            found.append(f"trusts {', '.join(map(str, self.cert_dirs))} (SSL_CERT_DIR)")
        return found


DIRECT = Network()
"""No proxy, and the usual certificates."""


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Return whether an entry of `NO_PROXY` names a host: by itself, as a domain above it, or as its network."""
    if entry == "*":
        return True
    name, only = split_port(entry)
    if only is not None and only != port:
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        domain = name.lower().lstrip("*").strip(".")
        return host == domain or host.endswith(f".{domain}")


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


def _direct(variable: str, value: str) -> tuple[str, ...]:
    entries = tuple(filter(None, re.split(r"[,\s]+", value)))
    for entry in entries:
        host, port = split_port(entry)
        if (
            not re.fullmatch(r"\*|(\*?\.)?[A-Za-z0-9_.-]+(/\d{1,3})?|[0-9A-Fa-f:.]+(/\d{1,3})?", host)
            or (port or 0) > 65535
        ):
            raise ValueError(
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
        raise ValueError(f"{_CERT_FILE} is not valid: expected a file of certificates in PEM form ({why})") from None
    return Path(file)


def _certificate_directories(value: str) -> tuple[Path, ...]:
    directories = tuple(filter(None, value.split(os.pathsep)))
    if not all(map(os.path.isdir, directories)):  # False also for text that cannot be a path.
        raise ValueError(f"{_CERT_DIR} is not valid: expected directories of certificates that exist")
    return tuple(map(Path, directories))
