"""A worker's environment: proxies, certificates, tokens and headers are obeyed or refused, and no secret is shown."""

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from message_batches.emulator import Emulator
from message_batches.emulator.identifiers import workspace_of
from message_batches.temporal.dev_server import DevServer
from tests.harness.carrying import carry_on, listening
from tests.harness.command_line import Ended, command_line
from tests.harness.http_proxy import http_proxy
from tests.harness.processes import WorkerProcess, lasting_port, refused_worker, settings
from tests.harness.requests import fresh
from tests.harness.stack import KEYS, Stack
from tests.harness.waiting import eventually


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("https_proxy", "http://me:hidden@"),
        ("SSL_CERT_FILE", "/no/hidden"),
        ("ANTHROPIC_CUSTOM_HEADERS", "X-A: hidden"),
    ],
)
async def test_a_variable_that_cannot_be_used_ends_the_worker_in_one_sentence(
    variable: str, value: str, temporal: DevServer, tmp_path: Path
) -> None:
    status, said = await refused_worker(tmp_path, temporal.address, **{variable: value})

    assert status == 2
    assert said.startswith(f"worker.py: {variable} ")
    assert said.count("\n") == 1
    assert "hidden" not in said


async def test_what_only_the_worker_needs_stops_no_starter_that_does_not_call_the_api(
    temporal: DevServer, tmp_path: Path
) -> None:
    starter = command_line(tmp_path, temporal, (tmp_path / "store").as_uri(), f"odd-{uuid4()}")
    odd = {
        "ANTHROPIC_CUSTOM_HEADERS": "X-A: hidden",
        "ANTHROPIC_API_KEY_B": "hidden",
        "ANTHROPIC_AUTH_TOKEN_B": "hidden",
        "MESSAGE_BATCHES_SECRETS": "/nowhere/at/all",
        "ALL_PROXY": "socks5://127.0.0.1:9",
    }
    user = replace(starter, environment={**starter.environment, **odd})

    checked = await user("check", user.file(fresh()))
    listed = await user("list")
    live = await user("check", "--live", user.file(fresh()))

    assert [(each.code, each.err) for each in (checked, listed)] == [(0, "")] * 2
    assert live.code == 2
    assert "hidden" not in live.said


@pytest.mark.slow
async def test_a_run_goes_through_the_proxy_to_the_api_and_directly_to_loopback(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    store, queue, key = (tmp_path / "store").as_uri(), f"proxied-{uuid4()}", KEYS["default"].get_secret_value()
    starter = command_line(tmp_path / "user", temporal, store, queue)
    async with http_proxy(emulator.url.removeprefix("http://")) as proxy:
        configured = settings(
            temporal=temporal.address,
            api="http://api.internal",
            key=key,
            store=store,
            task_queue=queue,
            ANTHROPIC_API_KEY_LOCAL=key,
            ANTHROPIC_BASE_URL_LOCAL=emulator.url,
            HTTP_PROXY=f"http://me:hidden@{proxy.address}",
            HTTPS_PROXY=f"http://127.0.0.1:{lasting_port()}",
        )
        worker = await WorkerProcess.begin(configured, tmp_path / "worker.log", tmp_path)
        try:
            proxied = await starter("start", starter.file(fresh()), "--wait", "--json", "--poll-interval", "0.1s")
            seen = len(proxy.seen)
            direct = await starter(
                "start", starter.file(fresh()), "--wait", "--json", "--poll-interval", "0.1s", "--key", "local"
            )
        finally:
            await worker.terminate()

    assert (proxied.code, direct.code) == (0, 0)
    assert seen >= 2
    assert len(proxy.seen) == seen
    assert f"proxy  http://***@{proxy.address} (HTTP_PROXY) for http\n" in worker.output
    assert "hidden" not in worker.output


@pytest.mark.slow
async def test_a_failing_proxy_is_named_where_the_run_stands(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    store, queue = (tmp_path / "store").as_uri(), f"proxied-{uuid4()}"
    starter = command_line(tmp_path / "user", temporal, store, queue)
    stack = Stack(temporal.client, emulator, store, queue)
    async with http_proxy(emulator.url.removeprefix("http://")) as proxy:
        proxy.user = "me:right"
        configured = settings(
            temporal=temporal.address,
            api="http://api.internal",
            key=KEYS["default"].get_secret_value(),
            store=store,
            task_queue=queue,
            HTTP_PROXY=f"http://me:hidden@{proxy.address}",
        )
        worker = await WorkerProcess.begin(configured, tmp_path / "worker.log", tmp_path)
        try:
            run = await stack.start(fresh())

            async def named() -> Ended | None:
                shown = await starter("status", run.id)
                return shown if "through the proxy" in shown.said else None

            shown = await eventually(named, "the proxy in the run's status")
        finally:
            await worker.terminate()
    await run.terminate()

    assert f"http://***@{proxy.address}" in shown.said
    assert "hidden" not in shown.said + worker.output


async def test_a_worker_with_a_token_and_headers_runs_batches_and_repeats_none_of_them(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    store, queue, token, header = (tmp_path / "store").as_uri(), f"token-{uuid4()}", "token-hidden-1", "header-hidden-2"
    starter = command_line(tmp_path / "user", temporal, store, queue)
    heads: list[str] = []

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readuntil(b"\r\n\r\n")
        heads.append(first.decode().lower())
        await carry_on(reader, writer, emulator.url.removeprefix("http://"), first)

    async with listening(gateway) as address:
        configured = settings(
            temporal=temporal.address,
            api=f"http://{address}",
            store=store,
            task_queue=queue,
            ANTHROPIC_AUTH_TOKEN=token,
            ANTHROPIC_CUSTOM_HEADERS=f"X-Gateway-Key: {header}",
            ANTHROPIC_WORKSPACE_ID=workspace_of(token),
        )
        worker = await WorkerProcess.begin(configured, tmp_path / "worker.log", tmp_path, "--log-level", "DEBUG")
        try:
            ended = await starter("start", starter.file(fresh()), "--wait", "--json", "--poll-interval", "0.1s")
        finally:
            await worker.terminate()

    assert ended.code == 0, ended.out
    assert "keys: default (token, headers x-gateway-key, a workspace)" in worker.output
    assert all(f"authorization: bearer {token}" in head and f"x-gateway-key: {header}" in head for head in heads)
    history = await temporal.client.get_workflow_handle(ended.json["workflowId"]).fetch_history()
    everything = worker.output + ended.said + str(history.to_json())
    assert "hidden" not in everything
