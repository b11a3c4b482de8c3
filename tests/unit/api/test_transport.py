"""Calls through proxies and with certificates of one's own: which way they take, and how an error on it reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile
from message_batches.api.network import Network
from message_batches.emulator import Emulator
from message_batches.errors import ApiError, BatchNotFound, NotSent, ReplyLost
from message_batches.settings import Settings
from tests.harness.carrying import listening
from tests.harness.http_proxy import HttpProxy, http_proxy
from tests.harness.processes import lasting_port
from tests.harness.requests import request
from tests.harness.stack import KEYS
from tests.harness.tls import make_ca, make_certificate, tls_front
from tests.unit.api.test_client import BODY, chunks

PROFILE = ApiProfile()
HOST = "api.example"


def network(**variables: str) -> Network:
    return Settings.from_environment(variables).network


@pytest.fixture
async def proxy(emulator: Emulator) -> AsyncIterator[HttpProxy]:
    async with http_proxy(emulator.url.removeprefix("http://")) as running:
        yield running


@asynccontextmanager
async def api(base_url: str, way: Network) -> AsyncIterator[HttpBatchApi]:
    async with http_client(base_url, network=way) as http:
        yield HttpBatchApi(http, ApiKeys(KEYS), way)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_a_call_goes_through_the_proxy(variable: str, proxy: HttpProxy) -> None:
    async with api(f"http://{HOST}", network(**{variable: f"http://{proxy.address}"})) as through:
        batch = await through.create(PROFILE, chunks(), len(BODY))
        found = await through.retrieve(PROFILE, batch.id)

    assert found.id == batch.id
    assert [seen.split(" ")[0] for seen in proxy.seen] == ["POST", "GET"]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
async def test_tls_goes_through_the_proxy_to_the_server(variable: str, emulator: Emulator, tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    async with (
        tls_front(emulator.url.removeprefix("http://"), make_certificate(tmp_path, ca, [HOST])) as front,
        http_proxy(front) as proxy,
    ):
        proxies = {variable: proxy.address, "SSL_CERT_FILE": str(ca.cert_file)}
        async with api(f"https://{HOST}", network(**proxies)) as through:
            listed = await through.list(PROFILE, limit=1)
        async with api(f"https://{HOST}", network(**{variable: proxy.address})) as through:
            with pytest.raises(NotSent, match=f"CERTIFICATE_VERIFY_FAILED.* proxy http://{proxy.address}"):
                await through.list(PROFILE, limit=1)

    assert not listed.data
    assert proxy.seen == [f"CONNECT {HOST}:443"] * 2


async def test_loopback_is_never_proxied(emulator: Emulator) -> None:
    way = network(ALL_PROXY=f"http://127.0.0.1:{lasting_port()}", NO_PROXY="example.com")
    for host in ("127.0.0.1", "localhost"):
        async with api(emulator.url.replace("127.0.0.1", host), way) as direct:
            assert (await direct.list(PROFILE, limit=1)).has_more is False


@pytest.mark.parametrize(
    "status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout", "403 Forbidden"]
)
async def test_a_proxy_that_may_have_answered_itself_is_named(status: str, proxy: HttpProxy) -> None:
    proxy.refuses = status
    way = network(HTTP_PROXY=f"http://me:hidden@{proxy.address}")
    async with api(f"http://{HOST}", way) as through:
        with pytest.raises(ApiError, match=rf"A gateway, or the proxy http://\*\*\*@{proxy.address} ") as caught:
            await through.retrieve(PROFILE, "msgbatch_1")
        with pytest.raises(ApiError, match="or the proxy"):
            await through.results(PROFILE, "msgbatch_1").__aenter__()

    assert (caught.value.status, caught.value.by_api) == (int(status[:3]), False)
    assert "hidden" not in str(caught.value)


async def test_an_answer_of_the_api_through_a_proxy_does_not_name_it(proxy: HttpProxy) -> None:
    async with api(f"http://{HOST}", network(HTTP_PROXY=f"http://{proxy.address}")) as through:
        with pytest.raises(BatchNotFound) as caught:
            await through.retrieve(PROFILE, "msgbatch_unknown")

    assert "proxy" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "host", "port", "direct"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "api.example.com", 443, True),
        (".example.com", "api.example.com", 443, True),
        ("*.example.com", "api.example.com", 443, True),
        ("EXAMPLE.com", "Api.Example.COM.", 443, True),
        ("example.com", "notexample.com", 443, False),
        ("example.com:8443", "example.com", 8443, True),
        ("example.com:8443", "example.com", 443, False),
        ("example.com:443", "example.com", None, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("fd00::/8", "[fd00::1]", 443, True),
        ("[::2]:8080", "[::2]", 8080, True),
        ("*", "anything", 443, True),
        ("a.example, b.example", "b.example", 443, True),
        ("<local>", "gateway", 443, True),
        ("10.*;<LOCAL>", "gateway", 443, True),
        ("<local>", "api.example", 443, False),
        ("<local>", "fd00::1", 443, False),
        ("<local>:8080", "gateway", 443, False),
        ("192.168.*;10.*", "10.1.2.3", 443, True),
        ("10.*", "11.10.2.3", 443, False),
        ("s3.*.example.com", "s3.eu.example.com", 443, True),
        ("*.example.com", "example.com", 443, True),
        ("*example.com", "api.example.com", 443, True),
        ('"a.example,b.example"', "b.example", 443, True),
        ("a.example ;\tb.example;", "b.example", 443, True),
        ("https://a.example/", "a.example", 443, True),
        ("http://a.example:8080", "a.example", 8080, True),
        ("bücher.example", "xn--bcher-kva.example", 443, True),
        ("xn--bcher-kva.example", "bücher.example", 443, True),
        ("example.com.", "api.example.com", 443, True),
        ("[::1]", "::1", 443, True),
        ("[fd00::1]", "fd00::1", 443, True),
        ("fd00::1", "fd00:0::1", 443, True),
        ("10.0.0.0/8:8443", "10.1.2.3", 443, False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", 443, True),
        ("/var/run/docker.sock,a.example", "a.example", 443, True),
        ("", "127.1", 443, True),
        ("", "2130706433", 443, True),
        ("", "0.0.0.0", 443, True),
        ("", "::", 443, True),
        ("", "::ffff:127.0.0.1", 443, True),
        ("", "LOCALHOST.", 443, True),
        ("", "localhost.example", 443, False),
        ("", "localhost", 443, True),
        ("", "127.3.2.1", 443, True),
        ("", "[::1]", 443, True),
        ("", "x.localhost", 443, True),
        ("", "10.1.2.3", 443, False),
    ],
)
def test_some_hosts_are_reached_directly(entry: str, host: str, port: int | None, direct: bool) -> None:
    way = network(HTTPS_PROXY="http://proxy.example:3128", NO_PROXY=entry)

    assert (way.proxy_for("https", host, port) is None) is direct


def test_each_scheme_has_its_proxy_and_lower_case_goes_first() -> None:
    way = network(ALL_PROXY="http://all:1", HTTPS_PROXY="http://upper:2", https_proxy="http://lower:3", http_proxy="")
    other = network(HTTP_PROXY="http://plain:4")

    assert [str(way.proxy_for(scheme, HOST, None)) for scheme in ("http", "https")] == [
        "http://all:1 (ALL_PROXY)",
        "http://lower:3 (https_proxy)",
    ]
    assert other.proxy_for("https", HOST, None) is None


async def test_a_proxy_that_does_not_answer_is_named_without_its_password() -> None:
    url = f"http://me:hidden@127.0.0.1:{lasting_port()}"
    async with api(f"http://{HOST}", network(HTTP_PROXY=url)) as through:
        with pytest.raises(NotSent, match=r"through the proxy http://\*\*\*@127.0.0.1:\d+ \(HTTP_PROXY\)") as caught:
            await through.create(PROFILE, chunks(), len(BODY))

    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_another_user_is_an_error_of_the_proxy(scheme: str, proxy: HttpProxy) -> None:
    proxy.user = "me:secret"
    wrong = network(ALL_PROXY=f"http://me:hidden@{proxy.address}")
    async with api(f"{scheme}://{HOST}", wrong) as through:
        with pytest.raises(NotSent, match=r"407 Proxy Authentication Required.*ALL_PROXY") as caught:
            await through.list(PROFILE, limit=1)
    async with api(f"http://{HOST}", network(ALL_PROXY=f"http://me:secret@{proxy.address}")) as through:
        assert (await through.list(PROFILE, limit=1)).has_more is False

    assert "hidden" not in str(caught.value)


async def test_a_connection_that_breaks_in_the_proxy_names_it() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()

    async with listening(cut) as address, api(f"http://{HOST}", network(HTTP_PROXY=address)) as through:
        with pytest.raises(ReplyLost, match=f"through the proxy http://{address}"):
            await through.retrieve(PROFILE, "msgbatch_1")


async def test_a_library_reads_no_proxy_by_itself(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, f"socks5://127.0.0.1:{lasting_port()}")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")

    async with api(emulator.url, Network()) as direct:
        body = b'{"requests":[' + str(request("a")).replace("'", '"').encode() + b"]}"
        assert (await direct.create(PROFILE, chunks(body), len(body))).id
