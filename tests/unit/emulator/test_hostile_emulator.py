"""Hostile calls to the emulator and its control: refused in the API's own form, and the emulator continues."""

from collections.abc import AsyncIterator

import httpx
import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.emulator.server import MAX_CONNECTIONS
from tests.harness.left_open import connections, is_open
from tests.harness.waiting import TIMEOUT

DEEP = "[" * 10_000 + "]" * 10_000
FAULTS, CLOCK = "/_emulator/faults", "/_emulator/clock"
CREATE = "/v1/messages/batches"
HEADERS = {"x-api-key": "sk-one", "anthropic-version": "2023-06-01", "content-type": "application/json"}


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with Emulator() as emulator, httpx.AsyncClient(base_url=emulator.url, headers=HEADERS) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (FAULTS, DEEP),
        (FAULTS, f'{{"fault":{DEEP}}}'),
        (FAULTS, '{"fault":"slow","seconds":1e400}'),
        (FAULTS, '{"fault":"slow","seconds":Infinity}'),
        (FAULTS, '{"fault":"slow","seconds":NaN}'),
        (FAULTS, '{"fault":"slow","seconds":-1}'),
        (FAULTS, f'{{"fault":"slow","seconds":1{"0" * 400}}}'),
        (FAULTS, f'{{"fault":"slow","times":1{"0" * 5000}}}'),
        (FAULTS, '{"fault":"429","retry_after":1e308}'),
        (FAULTS, '{"fault":"429","probability":NaN}'),
        (FAULTS, '{"fault":"accept-then-5xx","status":10000}'),
        (CLOCK, DEEP),
        (CLOCK, '{"advance":1e400}'),
        (CLOCK, '{"advance":NaN}'),
        (CLOCK, '{"advance":-1}'),
        (CLOCK, '{"advance":9e11}'),
        (CLOCK, f'{{"advance":1{"0" * 5000}}}'),
        (CREATE, f'{{"requests":[{{"custom_id":"a","params":{{"x":{DEEP}}}}}]}}'),
        (CREATE, f'{{"requests":{DEEP}}}'),
        (CREATE, f'{{"x":{DEEP}}}'),
        (CREATE, f'{{"requests":[{{"custom_id":"a","params":{{"x":1{"0" * 5000}}}}}]}}'),
        (CREATE, '{"requests":[{"custom_id":"a","params":{"x":NaN}}]}'),
        (CREATE, '{"requests":[{"custom_id":"\\u0430","params":{}}]}'),
        (CREATE, '{"requests":[{"custom_id":"a\\n","params":{}}]}'),
    ],
    ids=lambda value: value[:60],
)
async def test_an_invalid_body_is_refused_in_the_form_of_the_api(
    http: httpx.AsyncClient, path: str, content: str
) -> None:
    reply = await http.post(path, content=content)

    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert (await http.get(FAULTS)).json() == []


async def test_the_clock_cannot_pass_its_end_and_the_emulator_continues(http: httpx.AsyncClient) -> None:
    created = await http.post(CREATE, content='{"requests":[{"custom_id":"a","params":{}}]}')
    century = '{"advance":3155760000}'

    statuses = [(await http.post(CLOCK, content=century)).status_code for _ in range(72)]

    assert statuses[0] == 200
    assert statuses[-1] == 400
    assert (await http.get(CLOCK)).json()["now"].startswith("89")
    batch = await http.get(f"{CREATE}/{created.json()['id']}")
    assert batch.json()["processing_status"] == "ended"
    assert batch.json()["archived_at"]
    again = await http.post(CREATE, content='{"requests":[{"custom_id":"a","params":{}}]}')
    assert again.status_code == 200


@pytest.mark.parametrize("batch_id", ["..", "%2e%2e", "%2e%2e%2f%2e%2e", "a%2Fb", "%00", "%0d%0ax", "a" * 7000, "%ff"])
async def test_an_invalid_batch_id_is_not_found(http: httpx.AsyncClient, batch_id: str) -> None:
    for path in (f"{CREATE}/{batch_id}", f"{CREATE}/{batch_id}/results"):
        reply = await http.get(path)
        assert reply.status_code in (404, 405)
        assert reply.json()["type"] == "error"


LOCAL = ["localhost", "localhost:8080", "127.0.0.1", "[::1]:8080", "192.0.2.7:80", "emulator:8080", "my_emulator-1"]
LOCAL += ["LOCALHOST", "host.docker.internal:8080", "emulator.localhost", "api.example.com"]
FOREIGN = ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "evil.internal.com"]
FOREIGN += ["", ":80", "localhost.", "other.example.com", "api.example.com.evil.example", "a b", "[", "[::1", "\u0131"]


@pytest.mark.parametrize("host", LOCAL)
async def test_programs_may_call_it_by_addresses_and_names_that_are_local_or_its_own(host: str) -> None:
    options = EmulatorOptions(public_url="https://API.example.com/proxy")
    async with Emulator(options) as emulator, httpx.AsyncClient(base_url=emulator.url, headers=HEADERS) as client:
        for path in (FAULTS, CREATE):
            assert (await client.get(path, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_page_whose_host_name_leads_here_is_refused(host: str) -> None:
    options = EmulatorOptions(public_url="https://api.example.com")
    async with Emulator(options) as emulator, httpx.AsyncClient(base_url=emulator.url, headers=HEADERS) as client:
        for path in (FAULTS, CREATE):
            refused = await client.get(path, headers={b"Host": host.encode()})
            assert refused.status_code in (400, 403)
        assert emulator.calls == []


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://localhost:8080", "https://api.example.com"]
)
async def test_a_page_in_a_browser_is_refused(origin: str) -> None:
    async with Emulator() as emulator, httpx.AsyncClient(base_url=emulator.url, headers=HEADERS) as client:
        fault = {"fault": "500"}
        sent = {"Origin": origin, "Content-Type": "text/plain"}
        answers = [
            await client.post(FAULTS, json=fault, headers=sent),
            await client.post(CLOCK, json={"advance": 9}, headers=sent),
            await client.delete(FAULTS, headers=sent),
            await client.get("/_emulator/batches", headers=sent),
            await client.get("/nowhere", headers=sent),
            await client.options(FAULTS, headers={**sent, "Access-Control-Request-Method": "POST"}),
        ]

        assert {answer.status_code for answer in answers} == {403}
        assert answers[0].json()["error"]["type"] == "permission_error"
        assert not any(name.lower().startswith("access-control") for answer in answers for name in answer.headers)
        assert list(emulator.faults) == []


@pytest.mark.slow
async def test_connections_that_are_left_open_are_closed_for_new_ones() -> None:
    async with (
        Emulator() as emulator,
        httpx.AsyncClient(base_url=emulator.url, timeout=TIMEOUT) as client,
        connections(emulator.url, MAX_CONNECTIONS + 50) as opened,
    ):
        assert (await client.get(FAULTS)).status_code == 200
        assert sum(map(is_open, opened)) <= MAX_CONNECTIONS
