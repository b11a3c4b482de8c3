"""What a caller may pass to a run, and must not get away with: refused with a type, nothing sent, nothing touched."""

import json
import os
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue

from message_batches.contract import CANCEL_BATCH, POLL_NOW, PROGRESS, RESOLVE_SUBMISSION, WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, Phase
from message_batches.temporal.dev_server import DevServer
from tests.rig import Rig, failure_of, requests, rig, until

DEEP = "[" * 10_000 + "]" * 10_000
ONE = json.dumps(requests(1))
SECRET = json.dumps(requests(1)[0]) + "\n"
"""Lines that could be sent if somebody got at them."""


@pytest.fixture(scope="module")
async def live(temporal: DevServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One worker for all: none of these inputs may do it any harm."""
    store = tmp_path_factory.mktemp("hostile") / "store"
    options = EmulatorOptions(processing_time=timedelta(seconds=0.1))
    async with Emulator(options) as emulator, rig(temporal.client, emulator, store.as_uri()) as running:
        yield running


def payload(data: bytes | str, encoding: str = "json/plain") -> RawValue:
    """A payload as another SDK, or none, may have made it."""
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=data))


async def begin(live: Rig, *given: Any) -> WorkflowHandle[Any, BatchOutput]:
    return await live.client.start_workflow(
        WORKFLOW_TYPE,
        args=given,
        id=f"hostile-{uuid4()}",
        task_queue=live.task_queue,
        result_type=BatchOutput,
        execution_timeout=timedelta(seconds=60),
    )


async def assert_refused(live: Rig, *given: Any, kind: str, says: str = "") -> None:
    before = len(live.emulator.calls)

    failure = await failure_of(await begin(live, *given))

    assert failure.type == kind
    assert says in failure.message
    assert len(failure.message) < 10_000
    assert len(live.emulator.calls) == before


# --- what cannot be read -------------------------------------------------------------------------------------------


def one(value: str) -> str:
    """An input with one request that holds a value."""
    return f'{{"requests":[{{"custom_id":"a","params":{{"x":{value}}}}}]}}'


def other(**fields: Any) -> str:
    """An input with one good request and something else in it."""
    return json.dumps({"requests": requests(1), **fields})


UNREADABLE = {
    "nothing at all": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"requestsUri":"\xff"}',
    "null": b"null",
    "a list": b"[]",
    "10,000 deep": one(DEEP),
    "10,000 deep, where nobody looks": f'{{"requests":{ONE},"x":{DEEP}}}',
    "10,000 deep, never closed": "[" * 10_000,
    "half a surrogate pair": one('"\\ud83d"'),
    "a number of 5,000 digits": one("1" + "0" * 5000),
    "half a surrogate pair in a name": '{"requestsUri":"\\ud83d"}',
}


@pytest.mark.parametrize("given", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_input_that_cannot_be_read_fails_its_run_instead_of_stalling_it(live: Rig, given: str | bytes) -> None:
    await assert_refused(live, payload(given), kind="InvalidInput", says="nothing was sent")


@pytest.mark.parametrize("encoding", ["binary/plain", "json/protobuf", "binary/null", "x/y"])
async def test_so_does_one_that_is_no_json(live: Rig, encoding: str) -> None:
    await assert_refused(live, payload(f'{{"requests":{ONE}}}', encoding), kind="InvalidInput")


async def test_so_does_none(live: Rig) -> None:
    await assert_refused(live, kind="InvalidInput", says="there is none")


async def test_a_key_in_an_input_that_cannot_be_read_is_not_repeated(live: Rig) -> None:
    key = "sk-ant-api03-of-somebody"

    failure = await failure_of(await begin(live, payload(f'{{"apiKey":"{key}","requests":"{key}",')))

    assert failure.type == "InvalidInput"
    assert key not in str(failure)


RAW_KEY = "sk-ant-api03-of-somebody"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("batchId", {"batchId": RAW_KEY}),
        ("requestsUri", {"requestsUri": RAW_KEY}),
        ("requestsUri", {"requestsUri": f"\n{RAW_KEY}"}),
        ("storeId", {"requests": requests(1), "storeId": RAW_KEY}),
        ("anthropicVersion", {"requests": requests(1), "anthropicVersion": RAW_KEY}),
        ("anthropicBeta.1", {"requests": requests(1), "anthropicBeta": ["files-api-2025-04-14", RAW_KEY]}),
    ],
)
async def test_a_key_in_another_field_is_refused_and_stands_in_the_callers_own_event_alone(
    live: Rig, field: str, given: dict[str, Any]
) -> None:
    before = len(live.emulator.calls)
    run = await begin(live, given)

    failure = await failure_of(run)

    assert failure.type == "InvalidInput"
    assert f"{field}: " in failure.message
    assert "rotate it" in failure.message
    assert len(live.emulator.calls) == before
    events = [event.SerializeToString() async for event in run.fetch_history_events()]
    assert [RAW_KEY.encode() in event for event in events] == [True] + [False] * (len(events) - 1)


# --- fields --------------------------------------------------------------------------------------------------------

FIELDS: dict[str, tuple[str, str]] = {
    "retryAfter 0": (other(poll={"retryAfter": 0}), "poll.retryAfter"),
    "retryAfter negative": (other(poll={"retryAfter": -30}), "poll.retryAfter"),
    "retryAfter below a microsecond": (other(poll={"retryAfter": 1e-9}), "poll.retryAfter"),
    "retryAfter 1e308": (other(poll={"retryAfter": 1e308}), "poll.retryAfter"),
    "retryAfter NaN": (other(poll={"retryAfter": float("nan")}), "poll.retryAfter"),
    "retryAfter Infinity": (other(poll={"retryAfter": float("inf")}), "poll.retryAfter"),
    "retryAfter of 400 digits": (other(poll={"retryAfter": 10**400}), "poll.retryAfter"),
    "retryAfter a century": (other(poll={"retryAfter": "P100Y"}), "poll.retryAfter"),
    "transient retryAfter negative": (other(poll={"transient": {"retryAfter": -1}}), "transient.retryAfter"),
    "retryLimit negative": (other(poll={"retryLimit": -1}), "poll.retryLimit"),
    "retryLimit of 400 digits": (other(poll={"retryLimit": 10**400}), "poll.retryLimit"),
    "retryLimit a fraction": (other(poll={"retryLimit": 0.5}), "poll.retryLimit"),
    "timeout 0": (other(submission={"timeout": 0}), "submission.timeout"),
    "quietPeriod negative": (other(submission={"quietPeriod": -1}), "submission.quietPeriod"),
    "version with a header in it": (other(anthropicVersion="2023-06-01\r\nx-api-key: y"), "anthropicVersion"),
    "version with a newline at its end": (other(anthropicVersion="2023-06-01\n"), "anthropicVersion"),
    "version with NUL": (other(anthropicVersion="2023\0"), "anthropicVersion"),
    "version, a megabyte": (other(anthropicVersion="9" * 1_000_000), "anthropicVersion"),
    "beta with a header in it": (other(anthropicBeta=["a\r\nhost: elsewhere"]), "anthropicBeta.0"),
    "beta with a comma": (other(anthropicBeta=["a,b"]), "anthropicBeta.0"),
    "betas, a megabyte": (other(anthropicBeta=["x" * 128] * 8_000), "anthropicBeta"),
    "betas, each of them wrong": (other(anthropicBeta=["a b"] * 30_000), "anthropicBeta"),
    "batchId upwards": (json.dumps({"batchId": "../../../v1/models"}), "batchId"),
    "batchId with a newline at its end": (json.dumps({"batchId": "msgbatch_1\n"}), "batchId"),
    "batchId encoded": (json.dumps({"batchId": "%2e%2e"}), "batchId"),
    "requestsUri, a megabyte": (json.dumps({"requestsUri": "file:///" + "x" * 1_000_000}), "requestsUri"),
    "storeId, a megabyte": (json.dumps({"requestsUri": "file:///x", "storeId": "x" * 1_000_000}), "storeId"),
    "state that is none": (other(state={"submission": 1}), "state.submission"),
}


@pytest.mark.parametrize(("given", "field"), FIELDS.values(), ids=FIELDS)
async def test_an_absurd_field_is_named_and_nothing_is_sent(live: Rig, given: str, field: str) -> None:
    await assert_refused(live, payload(given), kind="InvalidInput", says=field)


@pytest.mark.parametrize("name", ["default\n", "x" * 1_000_000, "../default", "Default", "d\u0435fault", "default\0"])
async def test_what_is_no_name_of_a_key_is_refused_whatever_it_is(live: Rig, name: str) -> None:
    await assert_refused(live, payload(other(apiKey=name)), kind="UnknownKey", says="rotate it")


STATES: dict[str, dict[str, Any]] = {
    "empty": {},
    "that would stall the run": {"started": "2020-01-01T00:00:00"},
    "that would skip the claim": {"store_id": "any", "settled": True, "submission": {"batch_id": "msgbatch_1"}},
    "with a path": {"store_id": "any", "settled": True, "submission": {"batch_id": "../../v1/models"}},
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
async def test_a_made_up_state_is_refused_by_the_first_run_of_a_chain(live: Rig, state: dict[str, Any]) -> None:
    await assert_refused(live, {"batchId": "msgbatch_1", "state": state}, kind="InvalidInput", says="state: ")


# --- requests ------------------------------------------------------------------------------------------------------

REQUESTS = {
    "1e400": '{"custom_id":"a","params":{"x":1e400}}',
    "NaN": '{"custom_id":"a","params":{"x":NaN}}',
    "an id of 65 characters": '{"custom_id":"%s","params":{}}' % ("a" * 65),
    "an id with a newline": '{"custom_id":"a\\n","params":{}}',
    "an id that looks like another": '{"custom_id":"\u0430","params":{}}',
    "an id with nothing to see": '{"custom_id":"a\\u200b","params":{}}',
    "an id that is a number": '{"custom_id":1,"params":{}}',
    "an id that is a path": '{"custom_id":"../a","params":{}}',
    "no params": '{"custom_id":"a","params":[]}',
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_an_absurd_request_is_refused_inline_and_in_a_file(live: Rig, request_: str) -> None:
    await assert_refused(live, payload(f'{{"requests":[{request_}]}}'), kind="InvalidRequests", says="nothing was sent")
    if "1e400" not in request_:  # The API gets the bytes of a file as they are, and may refuse what it cannot read.
        uri = put(live, "uploads/absurd.jsonl", request_ + "\n")
        await assert_refused(live, {"requestsUri": uri}, kind="InvalidRequests", says="line 1")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f'{{"custom_id":"a","params":{{"x":{DEEP}}}}}', "nested too deeply"),
        (f'{{"custom_id":"a","params":{{"x":{"[" * 10_000}', "nested too deeply"),
        ('{"custom_id":"a","params":{},"custom_id":"b"}', "custom_id: stands there twice"),
        ('{"custom_id":"a","params":{},"params":{"model":"x"}}', "params: stands there twice"),
        ('{"custom_id":"a","custom\\u005fid":"b","params":{}}', "custom_id: stands there twice"),
        ('{"custom_id":"a","params":{"x":"\\ud83d"}}', "half of a surrogate pair"),
    ],
    ids=[
        "10,000 deep",
        "10,000 deep, never closed",
        "two ids",
        "two params",
        "two ids, one escaped",
        "half a surrogate pair",
    ],
)
async def test_a_file_that_readers_may_read_in_two_ways_is_refused(live: Rig, line: str, says: str) -> None:
    uri = put(live, "uploads/two-ways.jsonl", line + "\n")

    await assert_refused(live, {"requestsUri": uri}, kind="InvalidRequests", says=says)


def put(live: Rig, name: str, content: str) -> str:
    """A file in the store, and its address."""
    file = live.store_folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return f"{live.store_url}/{name}"


# --- places --------------------------------------------------------------------------------------------------------


@pytest.fixture
def beside(live: Rig) -> Iterator[Path]:
    """A file beside the store, with requests in it, which nobody reads or changes."""
    file = live.store_folder.parent / "beside.jsonl"
    file.write_text(SECRET)
    yield file
    assert file.read_text() == SECRET


@pytest.mark.parametrize(
    "uri",
    [
        "{root}/../beside.jsonl",
        "{root}/uploads/../../beside.jsonl",
        "{root}/%2e%2e/beside.jsonl",
        "{root}/%2E%2E%2Fbeside.jsonl",
        "{root}/uploads%2F..%2F..%2Fbeside.jsonl",
        "{root}/%252e%252e/beside.jsonl",
        "{root}/./../beside.jsonl",
        "{root}//../beside.jsonl",
        "{root}\\..\\beside.jsonl",
        "{root}/%00/../../beside.jsonl",
        "{root}/x%00.jsonl",
        "{beside}",
        "file://{path}",
        "file://localhost{path}",
        "file://elsewhere{path}",
        "FILE://{path}",
        "{path}",
        "beside.jsonl",
        "file:///etc/passwd",
        "{root}-and-more/x.jsonl",
        "{root}?x=/../beside.jsonl",
        "{root}/x.jsonl#/../../beside.jsonl",
        "s3://bucket/beside.jsonl",
        "https://127.0.0.1/beside.jsonl",
        "memory:///beside.jsonl",
        "data:,x",
        "{root}",
        "{root}/",
        "{root}/store.json/x",
        "{root}/uploads",
        "",
    ],
)
async def test_requests_outside_the_store_are_not_read(live: Rig, beside: Path, uri: str) -> None:
    put(live, "uploads/x.jsonl", SECRET)
    address = uri.format(root=live.store_url, beside=beside.as_uri(), path=beside)

    await assert_refused(live, {"requestsUri": address}, kind="RequestsNotFound", says=live.store_url)


@pytest.mark.parametrize(
    ("link", "target", "name"),
    [
        ("linked.jsonl", "../beside.jsonl", "linked.jsonl"),
        ("linked.jsonl", "{beside}", "linked.jsonl"),
        ("linked", "..", "linked/beside.jsonl"),
        ("uploads/linked", "/", "uploads/linked/{path}"),
        ("manifests/linked.jsonl", "{beside}", "manifests/linked.jsonl"),
        ("uploads/round", "../uploads", "uploads/round/round/x.jsonl"),
    ],
)
async def test_no_link_in_the_store_leads_out_of_it(live: Rig, beside: Path, link: str, target: str, name: str) -> None:
    put(live, "uploads/x.jsonl", SECRET)
    place = live.store_folder / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(target.format(beside=beside))
    try:
        uri = f"{live.store_url}/{name.format(path=str(beside).lstrip('/'))}"
        await assert_refused(live, {"requestsUri": uri}, kind="RequestsNotFound", says="links are not followed")
    finally:
        place.unlink()


async def test_what_is_no_file_is_not_waited_for(live: Rig) -> None:
    pipe = live.store_folder / "pipe.jsonl"
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    try:
        await assert_refused(live, {"requestsUri": f"{live.store_url}/pipe.jsonl"}, kind="RequestsNotFound")
    finally:
        pipe.unlink()


async def test_a_store_that_is_a_link_and_folders_of_ours_that_are_links_are_fine(
    temporal: DevServer, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "other-disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "manifests").symlink_to(tmp_path / "other-disk")
    async with Emulator() as emulator, rig(temporal.client, emulator, (tmp_path / "store").as_uri()) as running:
        emulator.clock.advance(timedelta(hours=1))
        uri = put(running, "uploads/requests.jsonl", SECRET)

        run = await running.start(requests_uri=uri)
        await running.saw("create")
        emulator.clock.advance(timedelta(hours=1))

        assert (await run.result()).results_file.lines == 1
        assert len(list((tmp_path / "other-disk").iterdir())) == 2


# --- while it runs -------------------------------------------------------------------------------------------------

ADVICE: dict[str, list[Any]] = {
    "no JSON": [payload("{")],
    "10,000 deep": [payload('{"adopt":%s' % ("[" * 10_000))],
    "nothing": [],
    "too much": [{"adopt": "msgbatch_1"}, 1],
    "another kind": ["adopt"],
    "a path": [{"adopt": "../x"}],
    "a header": [{"adopt": "msgbatch_1\r\nx: y"}],
    "a key": [{"adopt": RAW_KEY}],
    "both": [{"adopt": "msgbatch_1", "submitAgain": True}],
    "neither": [{}],
    "of somebody else, or nobody": [{"adopt": "msgbatch_none"}],
}


async def test_senseless_updates_and_signals_are_refused_and_the_run_goes_on(live: Rig) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    live.emulator.faults.add("503", operation="results")
    run = await live.start(requests(2, "senseless"))
    await until(run, lambda progress: progress.phase is Phase.UNDECIDED)

    for given in ADVICE.values():
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await run.execute_update(RESOLVE_SUBMISSION, args=given)
        assert RAW_KEY not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(WorkflowUpdateFailedError):
        await run.execute_update(CANCEL_BATCH, args=[1])
    await run.signal(POLL_NOW, args=[payload("{"), 1])
    await run.signal("no such signal", args=[payload("{")])
    await run.query(PROGRESS, args=[1])
    live.emulator.faults.clear()

    output = await run.result()
    assert output.results_file.lines == 2
    assert output.possibly_paid_twice == ()
    history = [event async for event in run.fetch_history_events()]
    assert not [event for event in history if RAW_KEY.encode() in event.SerializeToString()]
    assert not [event for event in history if event.HasField("workflow_task_failed_event_attributes")]
