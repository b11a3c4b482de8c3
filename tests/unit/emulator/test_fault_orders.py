"""The ways to add a fault, and the errors for invalid ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from message_batches.emulator import Emulator
from message_batches.emulator.faults import FAULT_KINDS
from tests.harness.emulated_api import BATCHES, create, http, retrieve
from tests.unit.emulator.conftest import Start


async def test_probability_repeats_with_the_seed(start: Start) -> None:
    struck = []
    for _ in range(2):
        emulator = await start(seed=11)
        emulator.faults.add("529", probability=0.5)
        async with http(emulator) as client:
            struck.append([(await client.get(BATCHES)).status_code for _ in range(40)])
    assert struck[0] == struck[1]
    assert 5 < struck[0].count(529) < 35


async def test_faults_can_be_added_over_http(emulator: Emulator, client: httpx.AsyncClient) -> None:
    order = {"fault": "slow", "operation": "retrieve", "times": 2, "seconds": 0}
    assert (await client.post("/_emulator/faults", json=order)).status_code == 200
    batch_id = (await create(client))["id"]
    await retrieve(client, batch_id)
    (shown,) = (await client.get("/_emulator/faults")).json()
    assert (shown["fault"], shown["operation"], shown["times"], shown["applied"]) == ("slow", "retrieve", 1, 1)
    assert (await client.delete("/_emulator/faults")).json() == []
    assert (await client.get("/_emulator/faults")).json() == []


@pytest.mark.parametrize(
    ("order", "expected_error"),
    [
        ({"fault": "nope"}, "fault is one of html-413, slow, "),
        ({}, "fault is one of html-413, slow, "),
        ({"fault": "529", "operation": "make"}, "the operation of 529 is one of create, retrieve, list, "),
        ({"fault": "cut", "operation": ["create"]}, "the operation of cut is one of create, "),
        ({"fault": "u2028", "operation": "create"}, "the operation of u2028 is one of results, *"),
        ({"fault": "429", "seconds": 3}, "429 knows no 'seconds'; its parameters are operation, times, "),
        ({"fault": "429", "times": -1}, "times is a whole number of at least 0"),
        ({"fault": "429", "times": True}, "times is a whole number of at least 0"),
        ({"fault": "429", "probability": 2}, "probability is between 0 and 1"),
        ({"fault": "slow", "seconds": "soon"}, "seconds is a number of at least 0"),
        ({"fault": "cut", "clean": 1}, "clean is true or false"),
        ({"fault": "refuse-then-5xx", "status": 404}, "status is between 500 and 599"),
        ({"fault": "error", "status": 200}, "status is between 400 and 599"),
        ({"fault": "error", "message": "x"}, "error needs status"),
        ({"fault": "error", "status": 400, "message": 7}, "message is a text"),
        ({"fault": "outcome", "share": 1.5}, "share is between 0 and 1"),
        ({"fault": "outcome", "operation": "results"}, "the operation of outcome is one of create, *"),
        ({"fault": "field", "value": 1}, "field needs field"),
        ({"fault": "field", "field": "id", "operation": "results"}, "the operation of field is one of create, "),
        ({"fault": "insert", "hex": "xyz"}, "hex is bytes such as fffe"),
        ({"fault": "insert"}, "insert needs hex"),
    ],
)
async def test_an_invalid_fault_is_refused(
    emulator: Emulator, client: httpx.AsyncClient, order: dict[str, Any], expected_error: str
) -> None:
    reply = await client.post("/_emulator/faults", json=order)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert reply.json()["error"]["message"].startswith(expected_error)
    assert list(emulator.faults) == []


async def test_faults_from_the_start(start: Start) -> None:
    emulator = await start(
        processing_time=timedelta(),
        faults=(
            "529:operation=list,times=1,retry_after=2",
            "404:times=1",
            "field:operation=retrieve,field=request_counts.succeeded,value=7",
            '{"fault": "error", "operation": "cancel", "status": 400, "message": "No, and with commas: a=b."}',
        ),
    )
    async with http(emulator) as client:
        batch_id = (await create(client))["id"]
        assert (await client.get(BATCHES)).headers["retry-after"] == "2"
        assert (await client.get(f"{BATCHES}/{batch_id}")).status_code == 404
        assert (await client.get(f"{BATCHES}/{batch_id}")).json()["request_counts"]["succeeded"] == 7
        refused = (await client.post(f"{BATCHES}/{batch_id}/cancel")).json()
        assert refused["error"]["message"] == "No, and with commas: a=b."


def test_every_fault_of_the_specification_is_there() -> None:
    named = (
        "accept-then-drop accept-then-5xx refuse-then-5xx slow invisible 404 429 spend-limit 529 html-413 cut "
        "missing-line duplicate-line foreign-line u2028 lone-surrogate no-content-type gzip "
        "error outcome field insert foreign-batch"
    )
    assert set(named.split()) <= FAULT_KINDS.keys()
