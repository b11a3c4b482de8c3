"""Why Temporal cannot be used: the cause of a failed connection or of a refused call, and what to set."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.service import RPCError, RPCStatusCode

READ_TIMEOUT = timedelta(seconds=10)
"""The time that the answer of a call that changes nothing may take."""

_NO_HTTP2 = "H2NotNegotiated"
"""The reason where TLS is established with a server that offers no HTTP/2."""

_READS = 3
_PROBE_TIMEOUT = 3
T = TypeVar("T")
_ADDRESS = "TEMPORAL_ADDRESS"
_CERT_FILES = "TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"
_INVALID_CERTIFICATES = {
    "NotValidForName": "is for another name: connect to a name that is in it, or set TEMPORAL_TLS_SERVER_NAME to one",
    "Expired": "has expired: its administrator has to renew it",
    "NotValidYet": "is not valid yet: compare the clocks",
}
_NO_ANSWER = (
    RPCStatusCode.CANCELLED,  # The SDK's own: no answer within the call's timeout.
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.ABORTED,
    RPCStatusCode.DATA_LOSS,
)


@dataclass(frozen=True)
class Attempt:
    """A connection that was tried.

    Attributes:
        target: HOST:PORT.
        tls: the variable that turned TLS on; None if it did not speak TLS.
        certificate: whether it had a client's certificate.
        key: whether it had an API key, which turns TLS on.
    """

    target: str
    tls: str | None
    certificate: bool
    key: bool


def unanswered(error: RPCError) -> bool:
    """Return whether a call has no answer, so that the server may have carried it out in spite of the error."""
    return error.status in _NO_ANSWER


async def read_again(call: Callable[[timedelta], Awaitable[T]]) -> T:
    """Return the answer of a call that changes nothing, which is made again if its answer is lost or late.

    Args:
        call: makes the call, with the time that its answer may take.
    """
    for _ in range(_READS - 1):
        try:
            return await call(READ_TIMEOUT)
        except RPCError as error:
            if not unanswered(error):
                raise
    return await call(READ_TIMEOUT)


async def connection_problem(attempt: Attempt, reason: str) -> str:
    """Return why a connection failed and what to set, from the SDK's reason and a look at what the address speaks."""
    target = attempt.target
    if "dns error" in reason:
        # A container that is stopped has no name.
        return f"The host of {target} is not known (DNS): correct {_ADDRESS}, or start the container of that name"
    if "InvalidCertificate(" in reason:
        return f"The certificate of {target} {_certificate_problem(reason)}"
    if "InconsistentKeys" in reason:
        return "The key in TEMPORAL_TLS_CLIENT_KEY_PATH does not fit the certificate in TEMPORAL_TLS_CLIENT_CERT_PATH"
    if re.search("(PrivateKey|Certificate)ParseError", reason):
        return f"The client's certificate or its key is not in PEM form: correct {_CERT_FILES}"
    if "code: Unauthenticated" in reason:
        return f"{target} refuses the credentials: {_credentials(attempt.key)}"
    if "code: PermissionDenied" in reason:
        return f"{target} does not permit the connection: {_credentials(attempt.key)}, and its rights"
    if attempt.tls:
        return await _tls_problem(attempt, reason)
    if "tcp connect error" not in reason:
        return await _plain_problem(attempt, reason)
    refused = "nothing listens there" if "ConnectionRefused" in reason else _short(reason)
    return (
        f"No Temporal server answers at {target}. Start one (`temporal server start-dev`) or set {_ADDRESS} ({refused})"
    )


def call_problem(error: RPCError, namespace: str, target: str) -> str | None:
    """Return why a server refuses every call of this kind and what to set; None if it refuses just this one."""
    if is_namespace_missing(error):
        return (
            f"There is no namespace {namespace!r} at {target}: set TEMPORAL_NAMESPACE to one that exists, or create it "
            f"(`temporal operator namespace create {namespace}`)"
        )
    if error.status is RPCStatusCode.UNAUTHENTICATED:
        return f"{target} refuses the credentials ({error.message}): set a valid TEMPORAL_API_KEY, or {_CERT_FILES}"
    if error.status is RPCStatusCode.PERMISSION_DENIED:
        return (
            f"{target} does not permit this in namespace {namespace!r} ({error.message}): check TEMPORAL_NAMESPACE, "
            "and the rights of TEMPORAL_API_KEY or of the client's certificate"
        )
    if "HTTP status" in error.message:
        return f"{target} answers HTTP and is not Temporal's gRPC port: correct {_ADDRESS} (the default port is 7233)"
    return None


def is_namespace_missing(error: RPCError) -> bool:
    """Return whether a call failed because its namespace does not exist, and not a run in it."""
    kind = NamespaceNotFoundFailure.DESCRIPTOR
    return error.status is RPCStatusCode.NOT_FOUND and any(each.Is(kind) for each in error.grpc_status.details)


def _certificate_problem(reason: str) -> str:
    for name, problem in _INVALID_CERTIFICATES.items():
        if name in reason:
            return problem
    trusted = "set TEMPORAL_TLS_SERVER_CA_CERT_PATH, or SSL_CERT_FILE, to the certificate of its authority"
    return f"is not trusted here: {trusted}"


def _credentials(key: bool) -> str:
    return "check TEMPORAL_API_KEY" if key else f"set TEMPORAL_API_KEY, or {_CERT_FILES}"


async def _tls_problem(attempt: Attempt, reason: str) -> str:
    target = attempt.target
    if "tcp connect error" in reason:
        return f"No server answers at {target} ({_short(reason)}): correct {_ADDRESS}"
    if "Timeout expired" in reason:
        return await _other_protocol(attempt, reason)
    if _NO_HTTP2 in reason:
        return await _other_protocol(attempt, reason)
    established = "Status {" in reason
    if not established and "fatal alert" not in reason:
        unless = "" if attempt.tls == "TEMPORAL_TLS" else ", unless TEMPORAL_TLS is false"
        return f"{target} does not speak TLS, and this connection does: {attempt.tls} turns it on{unless}"
    # With TLS 1.3 a server sees the client's certificate once the connection is established, and then closes it. So
    # does one that speaks HTTP, whose answer may be lost then; a caller without a certificate gets that one's alone.
    if "h2 protocol error" not in reason and not await _speaks_http(target, tls=True):
        if attempt.certificate:
            return f"{target} refuses the client's certificate: check {_CERT_FILES}"
        return f"{target} wants a client's certificate: set {_CERT_FILES}"
    return await _other_protocol(attempt, reason)


async def _plain_problem(attempt: Attempt, reason: str) -> str:
    if "Timeout expired" not in reason and await _speaks_tls(attempt.target):
        return f"{attempt.target} speaks TLS, and this connection does not: set TEMPORAL_TLS to true"
    return await _other_protocol(attempt, reason)


async def _other_protocol(attempt: Attempt, reason: str) -> str:
    target = attempt.target
    if "Timeout expired" in reason:
        if not await _accepts(target):
            return f"No server answers at {target} (not even to a connection): correct {_ADDRESS}, or check the network"
        return f"{target} accepts connections and does not answer: check the server, and the port in {_ADDRESS}"
    if "HTTP status" in reason or await _speaks_http(target, tls=bool(attempt.tls)):
        return (
            f"{target} answers HTTP and is not Temporal's gRPC port, but perhaps its Web UI: correct {_ADDRESS} (the "
            "default port is 7233)"
        )
    return f"{target} does not speak Temporal's protocol ({_short(reason)}): correct {_ADDRESS}"


async def _accepts(target: str) -> bool:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            _, writer = await asyncio.open_connection(*_host_and_port(target))
        writer.transport.abort()
    except (OSError, TimeoutError, ValueError):
        return False
    return True


async def _speaks_tls(target: str) -> bool:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            _, writer = await asyncio.open_connection(*_host_and_port(target), ssl=_anybody())
        writer.transport.abort()
    except (OSError, TimeoutError, ValueError):
        return False
    return True


async def _speaks_http(target: str, *, tls: bool) -> bool:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(*_host_and_port(target), ssl=_anybody() if tls else None)
            try:
                writer.write(b"GET / HTTP/1.1\r\nhost: temporal\r\nconnection: close\r\n\r\n")
                return (await reader.read(5)).startswith(b"HTTP/")
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, ValueError):
        return False


def _anybody() -> ssl.SSLContext:
    """Return a context that trusts every server: it is only asked whether it speaks TLS, and nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _host_and_port(target: str) -> tuple[str, int]:
    host, colon, port = target.rpartition(":")
    return (host.strip("[]"), int(port)) if colon else (target, 7233)


def _short(reason: str) -> str:
    """Return the part of the SDK's reason that is meant for people."""
    if _NO_HTTP2 in reason:
        return "its TLS offers no HTTP/2 by ALPN"
    quoted: list[str] = re.findall(r'(?:message|error): "([^"]{1,100})', reason) or re.findall(r"kind: (\w+)", reason)
    return quoted[-1] if quoted else "no reason given"
