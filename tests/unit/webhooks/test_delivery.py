"""One attempt to deliver an event, over real HTTP and HTTPS."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from message_batches.api.network import DIRECT, read_network
from message_batches.errors import UnknownWebhook
from message_batches.webhooks.delivery import MAX_DELIVERIES, HttpWebhooks
from message_batches.webhooks.endpoints import IpAddress, read_endpoints
from message_batches.webhooks.errors import AddressRefused, NotDelivered, WebhookGone
from tests.harness.carrying import listening
from tests.harness.http_proxy import http_proxy
from tests.harness.receiver import OLD_SECRET, SECRET, Receiver, receiving, variables, webhooks
from tests.harness.tls import make_ca, make_certificate
from tests.unit.webhooks.events import an_event, notification


class Impatient(HttpWebhooks):
    timeout = 1


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


async def test_an_event_is_signed_as_the_librarys_verifier_wants_it(receiver: Receiver) -> None:
    await webhooks({"ops": f"{receiver.url}/path?query=1"}).deliver(notification())

    (got,) = receiver.got
    assert got.path == "/path"
    assert got.body == an_event().body
    assert got.event["data"]["workflowId"] == "run-1"
    assert got.id == notification().id
    assert got.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body + b" ", got.headers)


async def test_while_a_secret_is_replaced_both_are_accepted(receiver: Receiver) -> None:
    env = variables({"ops": receiver.url}) | {"MESSAGE_BATCHES_WEBHOOK_OPS_SECRET": f"{SECRET} {OLD_SECRET}"}

    await HttpWebhooks(read_endpoints(env), DIRECT).deliver(notification())

    (got,) = receiver.got
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(got.body, got.headers)


async def test_a_chat_gets_no_signature(receiver: Receiver) -> None:
    await webhooks({"ops": receiver.url}, slack=["ops"]).deliver(notification())

    (got,) = receiver.got
    assert b'"blocks"' in got.body
    assert "webhook-signature" not in got.headers


@pytest.mark.parametrize("status", [400, 401, 404, 408, 429, 500, 503])
async def test_whatever_is_not_2xx_is_not_delivered(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda _: web.Response(status=status, text="secret words", headers={"retry-after": "7"})

    with pytest.raises(NotDelivered, match=rf"^127\.0\.0\.1:\d+ answered {status}$") as caught:
        await webhooks({"ops": f"{receiver.url}/secret-path"}).deliver(notification())

    assert caught.value.retryable
    assert caught.value.retry_after == timedelta(seconds=7)


async def test_after_410_it_is_not_tried_again(receiver: Receiver) -> None:
    receiver.answer = lambda _: web.Response(status=410)

    with pytest.raises(WebhookGone) as caught:
        await webhooks({"ops": receiver.url}).deliver(notification())

    assert not caught.value.retryable


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async with receiving() as inside:
        receiver.answer = lambda _: web.Response(status=307, headers={"location": f"{inside.url}/admin"})

        with pytest.raises(NotDelivered, match="answered 307, a redirect, which is not followed"):
            await webhooks({"ops": receiver.url}).deliver(notification())

        assert not inside.got
    assert len(receiver.got) == 1


async def test_a_receiver_that_hangs_is_left_after_a_while_and_holds_few_attempts(
    receiver: Receiver,
) -> None:
    receiver.hangs = True
    async with receiving() as other:
        made = Impatient(read_endpoints(variables({"ops": receiver.url, "other": other.url})), DIRECT)
        began = [asyncio.create_task(made.deliver(notification())) for _ in range(MAX_DELIVERIES + 2)]
        await made.deliver(notification("other"))
        ended = await asyncio.gather(*began, return_exceptions=True)

    said = [str(error).partition(" ")[2] for error in ended]
    assert said.count("did not answer within 1 s") == MAX_DELIVERIES
    later = [error.retry_after for error in ended if isinstance(error, NotDelivered) and error.retry_after]
    assert len(later) == len(set(later)) == 2
    assert len(other.accepted) == 1
    receiver.hanging.set()
    receiver.hangs = False
    await made.deliver(notification())


async def test_a_name_that_the_worker_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownWebhook, match=r"no webhook named 'team-a' \(it has: ops\).*WEBHOOK_TEAM_A set"):
        await webhooks({"ops": "https://hooks.example.com"}).deliver(notification("team-a"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_this_machine_is_not_called_in_any_spelling(receiver: Receiver, host: str, scheme: str) -> None:
    port = receiver.url.rpartition(":")[2]

    with pytest.raises(AddressRefused, match="MESSAGE_BATCHES_WEBHOOKS_ALLOW"):
        await webhooks({"ops": f"{scheme}://{host}:{port}"}, allow="10.0.0.0/8").deliver(notification())

    assert not receiver.got


async def test_the_connection_is_made_to_the_address_that_was_checked(
    receiver: Receiver,
) -> None:
    """A name whose server answers otherwise at each question, as an attacker's does."""
    asked: list[str] = []

    async def look_up(host: str) -> list[IpAddress]:
        asked.append(host)
        return [ipaddress.ip_address("127.0.0.2" if len(asked) == 1 else "127.0.0.1")]

    url = receiver.url.replace("127.0.0.1", "rebinding.example")
    made = HttpWebhooks(read_endpoints(variables({"ops": url}, allow="127.0.0.2")), DIRECT, look_up)

    # Nothing listens at the first address, and there is no second question.
    with pytest.raises(NotDelivered, match=r"No answer from rebinding\.example"):
        await made.deliver(notification())

    assert asked == ["rebinding.example"]
    assert not receiver.got


async def test_of_several_addresses_only_those_that_are_allowed_are_called(receiver: Receiver) -> None:
    async def look_up(host: str) -> list[IpAddress]:
        return [ipaddress.ip_address(each) for each in ("127.0.0.1", "127.0.0.3", "127.0.0.2")]

    url = receiver.url.replace("127.0.0.1", "several.example")
    refused = HttpWebhooks(read_endpoints(variables({"ops": url}, allow="127.0.0.3")), DIRECT, look_up)
    reached = HttpWebhooks(read_endpoints(variables({"ops": url}, allow="127.0.0.0/31 127.0.0.3")), DIRECT, look_up)

    with pytest.raises(NotDelivered):
        await refused.deliver(notification())
    assert not receiver.got
    await reached.deliver(notification())
    assert receiver.got[0].headers["host"].startswith("several.example:")


async def test_over_https_the_certificate_must_be_that_of_the_name(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    certificate = make_certificate(tmp_path, ca, ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    trusting = read_network({"SSL_CERT_FILE": str(ca.cert_file)})
    async with receiving(context) as receiver:
        port = receiver.url.rpartition(":")[2]
        await webhooks({"ops": f"https://localhost:{port}"}, network=trusting).deliver(notification())
        for network, host in ((trusting, "127.0.0.1"), (DIRECT, "localhost")):
            with pytest.raises(NotDelivered, match="certificate verify failed"):
                await webhooks({"ops": f"https://{host}:{port}"}, network=network).deliver(notification())

    assert len(receiver.accepted) == 1


async def test_a_receiver_that_is_down_or_unknown_is_named_without_its_path() -> None:
    for url in ("http://127.0.0.1:9/secret-path", "https://does-not-exist.invalid/secret-path"):
        with pytest.raises(NotDelivered, match=r"^No answer from") as caught:
            await webhooks({"ops": url}).deliver(notification())

        assert "secret-path" not in str(caught.value)


async def test_an_answer_that_is_not_http_is_not_repeated() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"cannot " + await reader.readline() + b"\r\n")
        await writer.drain()
        writer.close()

    async with listening(echo) as address:
        with pytest.raises(NotDelivered, match="RemoteProtocolError") as caught:
            await webhooks({"ops": f"http://{address}/secret-path"}).deliver(notification())

    assert "secret-path" not in str(caught.value)


async def test_behind_a_proxy_private_addresses_and_plain_http_are_refused_too(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    certificate = make_certificate(tmp_path, ca, ["hooks.invalid"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    async with receiving(context) as receiver, http_proxy(receiver.url.removeprefix("https://")) as proxy:
        network = read_network({"ALL_PROXY": proxy.address, "SSL_CERT_FILE": str(ca.cert_file)})
        for url in ("https://10.0.0.1/", "https://192.168.7.7/", "https://169.254.169.254/", "http://hooks.invalid/"):
            with pytest.raises(AddressRefused):
                await webhooks({"ops": url}, network=network).deliver(notification())
        await webhooks({"ops": "https://hooks.invalid/hooks"}, network=network).deliver(notification())

        assert proxy.seen == ["CONNECT hooks.invalid:443"]
    assert receiver.accepted
