"""The way to servers: a process's proxies, the hosts that are reached without one, and the trusted certificates."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

LOOPBACK = ("localhost", "127.0.0.0/8", "::1")
"""Hosts that are never reached through a proxy: it would look for them on its own machine."""


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
