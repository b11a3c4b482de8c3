"""A connection to Temporal that fails: the sentence has the cause and the variable to set, on real servers."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from message_batches.emulator import Emulator
from message_batches.temporal.connection import TemporalUnreachable, connect
from message_batches.temporal.dev_server import DevServer
from tests.harness.carrying import listening, stay_silent
from tests.harness.command_line import CommandLine, command_line
from tests.harness.processes import lasting_port, refused_worker
from tests.harness.temporal_proxy import grpc_refusing
from tests.harness.tls import Certificate, make_ca, make_certificate, tls_front

UNAUTHENTICATED, PERMISSION_DENIED = 16, 7


@dataclass(frozen=True)
class Places:
    """Addresses that a connection is tried with, and the files of certificates."""

    addresses: dict[str, str]
    ca: Certificate
    client: Certificate
    stranger: Certificate


@pytest.fixture(scope="module")
async def places(temporal: DevServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Places]:
    folder = tmp_path_factory.mktemp("certificates")
    ca, other = make_ca(folder), make_ca(folder, "another-ca")
    server = make_certificate(folder, ca, ["127.0.0.1", "localhost"])
    elsewhere = make_certificate(folder, ca, ["elsewhere.example"], "elsewhere")
    client, stranger = make_certificate(folder, ca, [], "client"), make_certificate(folder, other, [], "stranger")

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """End at once."""

    async def ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        await writer.drain()
        await reader.read()

    async with AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(Emulator())
        http = emulator.url.removeprefix("http://")
        addresses = {
            "plain": temporal.address,
            "tls": await stack.enter_async_context(tls_front(temporal.address, server)),
            "mtls": await stack.enter_async_context(tls_front(temporal.address, server, ca)),
            "other name": await stack.enter_async_context(tls_front(temporal.address, elsewhere)),
            "http": http,
            "https": await stack.enter_async_context(tls_front(http, server)),
            "https 1.1": await stack.enter_async_context(tls_front(http, server, http2=False)),
            "tls 1.1": await stack.enter_async_context(tls_front(temporal.address, server, http2=False)),
            "web ui": temporal.ui_url.removeprefix("http://"),
            "closes": await stack.enter_async_context(listening(closes)),
            "ssh": await stack.enter_async_context(listening(ssh)),
            "unauthenticated": await stack.enter_async_context(grpc_refusing(UNAUTHENTICATED, "invalid token")),
            "denied": await stack.enter_async_context(grpc_refusing(PERMISSION_DENIED, "Request unauthorized.")),
            "nobody": f"127.0.0.1:{lasting_port()}",
            "no such host": "no-such-host.invalid:7233",
        }
        yield Places(addresses, ca, client, stranger)


TLS = {"TEMPORAL_TLS": "true"}
TRUSTED = {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": "ca"}
KEY = {"TEMPORAL_API_KEY": "hidden"}


def own(name: str) -> dict[str, str]:
    return {"TEMPORAL_TLS_CLIENT_CERT_PATH": name, "TEMPORAL_TLS_CLIENT_KEY_PATH": f"{name} key"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))
    for variable in ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_NAMESPACE"):
        monkeypatch.delenv(variable, raising=False)


def configure(monkeypatch: pytest.MonkeyPatch, places: Places, address: str, variables: dict[str, str]) -> None:
    files = {"ca": places.ca.cert_file}
    for name, certificate in (("client", places.client), ("stranger", places.stranger)):
        files |= {name: certificate.cert_file, f"{name} key": certificate.key_file}
    monkeypatch.setenv("TEMPORAL_ADDRESS", places.addresses[address])
    for variable, value in variables.items():
        monkeypatch.setenv(variable, str(files.get(value, value)))


@pytest.mark.parametrize(
    ("address", "variables", "says"),
    [
        ("plain", KEY, "does not speak TLS.* TEMPORAL_API_KEY turns it on, unless TEMPORAL_TLS is false"),
        ("plain", TLS, "does not speak TLS.* TEMPORAL_TLS turns it on"),
        ("plain", TRUSTED, "does not speak TLS.* TEMPORAL_TLS_SERVER_CA_CERT_PATH turns it on, unless TEMPORAL_TLS is"),
        ("closes", TLS, "does not speak TLS"),
        ("tls", {}, "speaks TLS, and this connection does not: set TEMPORAL_TLS to true"),
        ("mtls", {}, "speaks TLS, and this connection does not"),
        ("tls", KEY | {"TEMPORAL_TLS": "false"}, "speaks TLS, and this connection does not"),
        ("tls", TLS, "certificate .* is not trusted here: set TEMPORAL_TLS_SERVER_CA_CERT_PATH"),
        ("tls", KEY, "certificate .* is not trusted here"),
        ("other name", TRUSTED, "is for another name.* TEMPORAL_TLS_SERVER_NAME"),
        ("mtls", TRUSTED, "wants a client's certificate: set TEMPORAL_TLS_CLIENT_CERT_PATH"),
        ("mtls", TRUSTED | KEY, "wants a client's certificate"),
        ("mtls", TRUSTED | own("stranger"), "refuses the client's certificate: check TEMPORAL_TLS_CLIENT_CERT_PATH"),
        (
            "tls",
            TRUSTED | own("temporal.toml"),
            "TEMPORAL_TLS_CLIENT_CERT_PATH: temporal.toml: the file cannot be read",
        ),
        ("tls", TLS | {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": "client key"}, "there is no certificate in it"),
        ("mtls", TRUSTED | own("client") | {"TEMPORAL_TLS_CLIENT_KEY_PATH": "stranger key"}, "KEY_PATH does not fit"),
        ("http", {}, "answers HTTP and is not Temporal's gRPC port.*TEMPORAL_ADDRESS"),
        ("web ui", {}, "answers HTTP and is not Temporal's gRPC port"),
        ("https", TRUSTED, "answers HTTP and is not Temporal's gRPC port"),
        ("https 1.1", TRUSTED, "answers HTTP and is not Temporal's gRPC port"),
        ("tls 1.1", TRUSTED, "does not speak Temporal's protocol .its TLS offers no HTTP/2"),
        ("ssh", {}, "does not speak Temporal's protocol"),
        ("closes", {}, "does not speak Temporal's protocol"),
        ("unauthenticated", {}, "refuses the credentials: set TEMPORAL_API_KEY"),
        ("unauthenticated", KEY | {"TEMPORAL_TLS": "false"}, "refuses the credentials: check TEMPORAL_API_KEY"),
        ("denied", {}, "does not permit the connection"),
        ("nobody", {}, "No Temporal server answers at .*TEMPORAL_ADDRESS .nothing listens there"),
        ("nobody", TLS, "No server answers at .*TEMPORAL_ADDRESS"),
        ("no such host", {}, r"The host .* is not known \(DNS\): correct TEMPORAL_ADDRESS, or start the container"),
        ("no such host", TLS, r"The host .* is not known \(DNS\)"),
    ],
)
async def test_the_cause_and_what_to_set_are_in_the_sentence(
    address: str, variables: dict[str, str], says: str, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, places, address, variables)

    with pytest.raises(TemporalUnreachable, match=says) as caught:
        await connect()

    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{}, TLS])
async def test_a_server_that_stays_silent_is_not_waited_for_longer_with_tls(
    variables: dict[str, str], places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(stay_silent) as silent:
        configure(monkeypatch, replace(places, addresses={"silent": silent}), "silent", variables)

        async with asyncio.timeout(45):
            with pytest.raises(TemporalUnreachable, match="accepts connections and does not answer"):
                await connect()


@pytest.mark.parametrize(
    ("address", "variables"),
    [
        ("tls", TRUSTED),
        ("tls", TRUSTED | KEY),
        ("mtls", TRUSTED | own("client")),
        ("tls", TLS | {"SSL_CERT_FILE": "ca"}),
    ],
)
async def test_a_connection_with_what_the_sentence_names_succeeds(
    address: str, variables: dict[str, str], places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, places, address, variables)

    client = await connect()

    assert (await client.count_workflows("")).count >= 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("list", "--needs-attention"),
        ("status", "some-run"),
        ("watch", "some-run"),
        ("start", "requests.jsonl"),
        ("attach", "msgbatch_1"),
        ("cancel", "some-run"),
        ("setup",),
        ("purge", "--older-than", "40d"),
    ],
)
async def test_a_namespace_that_does_not_exist_is_no_missing_run(
    arguments: tuple[str, ...], temporal: DevServer, tmp_path: Path
) -> None:
    starter = in_namespace(temporal, tmp_path, "no-such-namespace")
    (tmp_path / "user" / "requests.jsonl").write_text(
        '{"custom_id": "a", "params": {"model": "claude-sonnet-5", "max_tokens": 1, "messages": [{"role": "user", '
        '"content": "x"}]}}\n'
    )
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text('{"id": "0"}')
    (tmp_path / "store" / "namespaces").mkdir()
    (tmp_path / "store" / "namespaces" / "1.json").write_text('{"name": "a", "address": "b"}')

    ended = await starter(*arguments, "--json")

    assert ended.code == 2
    assert ended.json["error"]["type"] == "TemporalUnreachable"
    assert "no namespace 'no-such-namespace'" in ended.json["error"]["message"]
    assert "TEMPORAL_NAMESPACE" in ended.json["error"]["message"]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (PERMISSION_DENIED, "does not permit this in namespace 'default'.*TEMPORAL_NAMESPACE.*TEMPORAL_API_KEY"),
        (UNAUTHENTICATED, "refuses the credentials.*TEMPORAL_API_KEY"),
    ],
)
@pytest.mark.parametrize("arguments", [("list",), ("status", "some-run"), ("cancel", "some-run")])
async def test_a_call_that_is_not_permitted_says_what_to_check(
    status: int, says: str, arguments: tuple[str, ...], temporal: DevServer, tmp_path: Path
) -> None:
    starter = command_line(tmp_path / "user", temporal, (tmp_path / "store").as_uri(), "a-queue")
    async with grpc_refusing(status, "Request unauthorized.", connects=True) as address:
        ended = await CommandLine(starter.folder, {**starter.environment, "TEMPORAL_ADDRESS": address})(*arguments)

    assert ended.code == 2
    assert re.search(says, ended.said)


def in_namespace(temporal: DevServer, folder: Path, name: str) -> CommandLine:
    starter = command_line(folder / "user", temporal, (folder / "store").as_uri(), "a-queue")
    return CommandLine(starter.folder, {**starter.environment, "TEMPORAL_NAMESPACE": name})


@pytest.mark.slow
async def test_a_worker_of_a_namespace_that_does_not_exist_says_so(temporal: DevServer, tmp_path: Path) -> None:
    status, said = await refused_worker(tmp_path, temporal.address, TEMPORAL_NAMESPACE="no-such-namespace")

    assert status == 1
    assert re.search("no-such-namespace.*TEMPORAL_NAMESPACE", said)
