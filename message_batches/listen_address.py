"""The HOST:PORT options of the servers for health, metrics and payloads."""

import socket

from message_batches.errors import MessageBatchesError


class CannotListen(MessageBatchesError):
    """An address to listen on is not valid, or is in use."""


def host_and_port(option: str, address: str, example: int) -> tuple[str, int]:
    """Split HOST:PORT into its two parts."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise CannotListen(
            f"{option} is not valid: expected HOST:PORT, such as 127.0.0.1:{example}, not {address[:80]!r}"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def socket_address(option: str, address: str, example: int) -> str:
    """Resolve HOST:PORT to IP:PORT, for servers that do not accept a host's name."""
    host, port = host_and_port(option, address, example)
    try:
        family, *_, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise CannotListen(
            f"{option} cannot listen on {address}: {getattr(error, 'strerror', None) or error}"
        ) from error
    return f"[{found[0]}]:{port}" if family is socket.AF_INET6 else f"{found[0]}:{port}"
