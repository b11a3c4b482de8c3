"""Hostile inputs of a caller: refused with a type; nothing is sent, nothing is touched.

Each table is tried on the code that refuses; one real run for each class shows that the code is called, that the run
fails instead of stalling, and that nothing is sent.
"""

import json
import os
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from activities.models import PrepareInput
from message_batches.contract import CANCEL_BATCH, POLL_NOW, PROGRESS, RESOLVE_SUBMISSION, WORKFLOW_TYPE
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.errors import InvalidRequests, RequestsNotFound
from message_batches.models import BatchOutput, Phase, Progress
from message_batches.requests.manifest import load_manifest, write_inline_manifest
from message_batches.runs.describe import describe_run
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal.connection import DATA_CONVERTER
from message_batches.temporal.dev_server import DevServer
from tests.harness.requests import requests
from tests.harness.stack import Stack, failure_of, progress_when, running_stack
from workflows.input_validation import NOTHING, check_input, parse_input
from workflows.state import BatchRun, RunState

DEEP = "[" * 10_000 + "]" * 10_000
ONE = json.dumps(requests(1))
SECRET = json.dumps(requests(1)[0]) + "\n"
"""Valid lines, which would be sent if they could be read."""
CONVERTER = DATA_CONVERTER.payload_converter


@pytest.fixture(scope="module")
async def live(temporal: DevServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Run one worker for all tests: none of these inputs may harm it."""
    store = tmp_path_factory.mktemp("hostile") / "store"
    options = EmulatorOptions(processing_time=timedelta(seconds=0.1))
    async with Emulator(options) as emulator, running_stack(temporal.client, emulator, store.as_uri()) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a store."""
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> ObjectStore:
    return open_store(folder.as_uri())


def payload(data: bytes | str, encoding: str = "json/plain") -> RawValue:
    """Return a payload as another SDK may have made it, or none."""
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=data))


def read(given: RawValue) -> BatchRun:
    """Return the input of a run that continues no other."""
    return parse_input(given.payload, CONVERTER, BatchRun)


def refusal_of(given: RawValue) -> ApplicationError:
    """Return the failure of a run with that input."""
    with pytest.raises(ApplicationError) as caught:
        check_input(read(given))
    assert caught.value.non_retryable
    # A message that cannot be encoded as UTF-8 would stall the run that fails with it.
    assert len(caught.value.message.encode()) < 10_000
    return caught.value


async def begin(live: Stack, *given: Any) -> WorkflowHandle[Any, BatchOutput]:
    return await live.client.start_workflow(
        WORKFLOW_TYPE,
        args=given,
        id=f"hostile-{uuid4()}",
        task_queue=live.task_queue,
        result_type=BatchOutput,
        execution_timeout=timedelta(seconds=60),
    )


async def assert_refused(live: Stack, *given: Any, kind: str, says: str = "") -> None:
    """Assert that a real run fails with that, that commands can show it, and that nothing is sent."""
    before = len(live.emulator.calls)
    run = await begin(live, *given)

    failure = await failure_of(run)
    shown = (await describe_run(live.client, run.id)).failure

    assert failure.type == kind
    assert shown
    assert shown.kind == kind
    assert says in failure.message
    assert len(failure.message) < 10_000
    assert len(live.emulator.calls) == before


def put(folder: Path, name: str, content: str) -> str:
    """Put a file into a store, and return its address."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return f"{folder.as_uri()}/{name}"


def one(value: str) -> str:
    """Return an input with one request that holds a value."""
    return f'{{"requests":[{{"custom_id":"a","params":{{"x":{value}}}}}]}}'


def other(**fields: Any) -> str:
    """Return an input with one good request and other fields."""
    return json.dumps({"requests": requests(1), **fields})


UNREADABLE: dict[str, bytes | str] = {
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
def test_an_input_that_cannot_be_read_is_refused(given: str | bytes) -> None:
    refusal = refusal_of(payload(given))

    assert refusal.type == "InvalidInput"


async def test_an_input_that_cannot_be_read_fails_its_run_instead_of_stalling_it(live: Stack) -> None:
    given = UNREADABLE["10,000 deep, where nobody looks"]

    await assert_refused(live, payload(given), kind="InvalidInput")


@pytest.mark.parametrize("encoding", ["binary/plain", "json/protobuf", "binary/null", "x/y"])
def test_an_input_that_is_not_json_is_refused(encoding: str) -> None:
    assert refusal_of(payload(f'{{"requests":{ONE}}}', encoding)).type == "InvalidInput"


@pytest.mark.parametrize("encoding", ["json/plain", "json/protobuf", "x/y"])
async def test_an_input_of_no_known_form_is_shown_as_refused(live: Stack, encoding: str) -> None:
    await assert_refused(live, payload("{", encoding), kind="InvalidInput")


async def test_a_missing_input_is_refused(live: Stack) -> None:
    assert refusal_of(NOTHING).type == "InvalidInput"
    await assert_refused(live, kind="InvalidInput")


SEVERAL_ARGUMENTS: dict[str, list[Any]] = {
    "two objects": [{}, {}],
    "a good one and null": [{"requests": requests(1)}, None],
    "three": [{"requests": requests(1)}, "x", 3],
    "none of which can be read": [payload("{"), payload(b"\xff", "x/y")],
    "one far too deep": [{"requests": requests(1)}, payload(DEEP)],
}


@pytest.mark.parametrize("given", SEVERAL_ARGUMENTS.values(), ids=SEVERAL_ARGUMENTS)
async def test_several_arguments_are_refused_instead_of_stalling_the_run(live: Stack, given: list[Any]) -> None:
    await assert_refused(live, *given, kind="InvalidInput", says="several arguments")


def unread(**fields: Any) -> tuple[str, ...]:
    """Return the fields that are not read, of an input with one request and these."""
    return read(payload(other(**fields))).unread_fields


def test_fields_that_no_version_knows_are_named_at_every_level() -> None:
    assert unread() == ()
    assert unread(poll={"retryAfter": 2, "transient": {"retryLimit": 1}}, staticSummary="x") == ()
    assert unread(poll={"retryAfterSeconds": 2}) == ("poll.retryAfterSeconds",)
    assert unread(pol={"retryAfter": 2}, maxTokens=[1]) == ("pol", "maxTokens")
    assert unread(poll={"transient": {"limit": 1}}, submission={"wait": {"x": 1}}) == (
        "poll.transient.limit",
        "submission.wait",
    )
    assert unread(apiKey="default", api_key="team-a") == ("api_key",)
    many = unread(poll={f"p{n}": n for n in range(30)}, **{f"x{n}": n for n in range(30)})
    assert (len(many), many[0], many[-1]) == (21, "poll.p0", "and 40 more")
    assert len(unread(**{f"x{n}": n for n in range(20)})) == 20
    assert unread(**{RAW_KEY: 1, "a b": 2}) == ("(a name that is not shown)",) * 2
    assert unread(**{f"x{n}": n for n in range(1000)})[19:] == ("x19", "and 980 more")


async def test_fields_that_are_not_read_are_named_by_the_run_and_in_the_log(
    live: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    run = await begin(live, {"requests": requests(1), "poll": {"retryAfterSeconds": 2, "retryAfter": 1}})

    output = await run.result()

    progress = await run.query(PROGRESS, result_type=Progress)
    shown: WorkflowMetadata = await run.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert output.verified
    assert progress.unread_fields == ("poll.retryAfterSeconds",)
    assert [r.levelname for r in caplog.records if "poll.retryAfterSeconds" in r.getMessage()] == ["WARNING"]
    assert "`poll.retryAfterSeconds`" in shown.current_details


def test_a_run_that_continues_another_waits_for_a_worker_that_can_read_it() -> None:
    with pytest.raises(ValidationError, match=r"poll\.retryAfter"):
        parse_input(payload('{"poll":{"retryAfter":0}}').payload, CONVERTER, BatchRun, continued=True)


def test_a_key_in_an_input_that_cannot_be_read_is_not_repeated() -> None:
    refusal = refusal_of(payload(f'{{"apiKey":"{RAW_KEY}","requests":"{RAW_KEY}",'))

    assert refusal.type == "InvalidInput"
    assert RAW_KEY not in "".join(traceback.format_exception(refusal))
    assert RAW_KEY not in str(refusal.details)


RAW_KEY = "sk-ant-api03-of-somebody"
MISPLACED_KEYS: list[tuple[str, dict[str, Any]]] = [
    ("batchId", {"batchId": RAW_KEY}),
    ("requestsUri", {"requestsUri": RAW_KEY}),
    ("requestsUri", {"requestsUri": f"\n{RAW_KEY}"}),
    ("storeId", {"requests": requests(1), "storeId": RAW_KEY}),
    ("anthropicVersion", {"requests": requests(1), "anthropicVersion": RAW_KEY}),
    ("anthropicBeta.1", {"requests": requests(1), "anthropicBeta": ["files-api-2025-04-14", RAW_KEY]}),
]


@pytest.mark.parametrize(("field", "given"), MISPLACED_KEYS)
def test_a_key_in_another_field_is_refused_and_not_repeated(field: str, given: dict[str, Any]) -> None:
    refusal = refusal_of(payload(json.dumps(given)))

    assert refusal.type == "InvalidInput"
    assert f"{field}: " in refusal.message
    assert RAW_KEY not in "".join(traceback.format_exception(refusal))
    assert RAW_KEY not in str(refusal.details)


async def test_a_key_in_another_field_is_only_in_the_callers_own_event(live: Stack) -> None:
    before = len(live.emulator.calls)
    field, given = MISPLACED_KEYS[-1]
    run = await begin(live, given)

    failure = await failure_of(run)

    assert failure.type == "InvalidInput"
    assert f"{field}: " in failure.message
    assert len(live.emulator.calls) == before
    events = [event.SerializeToString() async for event in run.fetch_history_events()]
    assert [RAW_KEY.encode() in event for event in events] == [True] + [False] * (len(events) - 1)


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
def test_an_invalid_field_is_named(given: str, field: str) -> None:
    refusal = refusal_of(payload(given))

    assert refusal.type == "InvalidInput"
    assert field in refusal.message


async def test_an_invalid_field_fails_its_run_and_nothing_is_sent(live: Stack) -> None:
    given, field = FIELDS["betas, each of them wrong"]

    await assert_refused(live, payload(given), kind="InvalidInput", says=field)


KEY_NAMES = ["default\n", "x" * 1_000_000, "../default", "Default", "d\u0435fault", "default\0"]


@pytest.mark.parametrize("name", KEY_NAMES, ids=range(len(KEY_NAMES)))
def test_an_invalid_key_name_is_refused(name: str) -> None:
    refusal = refusal_of(payload(other(apiKey=name)))

    assert refusal.type == "UnknownKey"


async def test_an_invalid_key_name_fails_its_run_and_nothing_is_sent(live: Stack) -> None:
    await assert_refused(live, payload(other(apiKey=KEY_NAMES[1])), kind="UnknownKey", says="rotate it")


STATES: dict[str, dict[str, Any]] = {
    "empty": {},
    "that would stall the run": {"started": "2020-01-01T00:00:00"},
    "that would skip the claim": {
        "store_id": "any",
        "outcome_recorded": True,
        "submission": {"batch_id": "msgbatch_1"},
    },
    "with a path": {"store_id": "any", "outcome_recorded": True, "submission": {"batch_id": "../../v1/models"}},
}


def continuing(state: dict[str, Any]) -> RawValue:
    """Return an input that claims to continue that state."""
    return payload(json.dumps({"batchId": "msgbatch_1", "state": state}))


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_made_up_state_is_refused_by_the_first_run_of_a_chain(state: dict[str, Any]) -> None:
    refusal = refusal_of(continuing(state))

    assert state.keys() <= RunState.model_fields.keys()
    assert refusal.type == "InvalidInput"
    assert "state: " in refusal.message
    assert parse_input(continuing({}).payload, CONVERTER, BatchRun, continued=True).state is not None


async def test_a_made_up_state_fails_its_run_and_nothing_is_sent(live: Stack) -> None:
    given = continuing(STATES["that would skip the claim"])

    await assert_refused(live, given, kind="InvalidInput", says="state: ")


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


async def prepared(store: ObjectStore, given: RawValue) -> None:
    """Return the input of the activity that checks the requests."""
    run = read(given)
    check_input(run)
    sent = CONVERTER.to_payload(PrepareInput(profile=run.profile, requests=run.requests, requests_uri=run.requests_uri))
    came = CONVERTER.from_payload(sent, PrepareInput)
    if came.requests is not None:
        await write_inline_manifest(store, came.requests)
    else:
        assert came.requests_uri is not None
        await load_manifest(store, came.requests_uri)


async def assert_requests_refused(store: ObjectStore, given: RawValue, *, says: str) -> None:
    with pytest.raises(InvalidRequests) as caught:
        await prepared(store, given)
    assert not caught.value.retryable
    assert says in str(caught.value)
    assert len(str(caught.value).encode()) < 10_000


def at(uri: str) -> RawValue:
    """Return an input whose requests are at that address."""
    return payload(json.dumps({"requestsUri": uri}))


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_an_invalid_request_is_refused_inline_and_in_a_file(
    store: ObjectStore, folder: Path, request_: str
) -> None:
    await assert_requests_refused(store, payload(f'{{"requests":[{request_}]}}'), says="nothing was sent")
    if "1e400" not in request_:  # The API gets the bytes of a file as they are, and may refuse them.
        uri = put(folder, "uploads/absurd.jsonl", request_ + "\n")
        await assert_requests_refused(store, at(uri), says="line 1")


async def test_an_invalid_request_fails_its_run_and_nothing_is_sent(live: Stack) -> None:
    given = f'{{"requests":[{REQUESTS["NaN"]}]}}'
    await assert_refused(live, payload(given), kind="InvalidRequests", says="nothing was sent")

    uri = put(live.store_folder, "uploads/deep.jsonl", f'{{"custom_id":"a","params":{{"x":{DEEP}}}}}\n')
    await assert_refused(live, {"requestsUri": uri}, kind="InvalidRequests", says="line 1")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f'{{"custom_id":"a","params":{{"x":{DEEP}}}}}', "nested too deeply"),
        (f'{{"custom_id":"a","params":{{"x":{"[" * 10_000}', "nested too deeply"),
        ('{"custom_id":"a","params":{},"custom_id":"b"}', "custom_id: is there twice"),
        ('{"custom_id":"a","params":{},"params":{"model":"x"}}', "params: is there twice"),
        ('{"custom_id":"a","custom\\u005fid":"b","params":{}}', "custom_id: is there twice"),
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
async def test_an_ambiguous_file_is_refused(store: ObjectStore, folder: Path, line: str, says: str) -> None:
    uri = put(folder, "uploads/two-ways.jsonl", line + "\n")

    await assert_requests_refused(store, at(uri), says=says)


@pytest.fixture
def beside(folder: Path, store: ObjectStore) -> Iterator[Path]:
    """Create a file of requests outside the store, which no run may read or change."""
    file = folder.parent / "beside.jsonl"
    file.write_text(SECRET)
    yield file
    assert file.read_text() == SECRET


async def assert_not_found(store: ObjectStore, uri: str, *, says: str) -> None:
    with pytest.raises(RequestsNotFound) as caught:
        await prepared(store, at(uri))
    assert not caught.value.retryable
    assert says in str(caught.value)
    assert len(str(caught.value).encode()) < 10_000


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
async def test_requests_outside_the_store_are_not_read(
    store: ObjectStore, folder: Path, beside: Path, uri: str
) -> None:
    put(folder, "uploads/x.jsonl", SECRET)
    address = uri.format(root=folder.as_uri(), beside=beside.as_uri(), path=beside)

    await assert_not_found(store, address, says=folder.as_uri())


async def test_requests_outside_the_store_fail_their_run_and_nothing_is_sent(live: Stack) -> None:
    beside = live.store_folder.parent / "beside.jsonl"
    beside.write_text(SECRET)
    uri = f"{live.store_url}/%2e%2e/beside.jsonl"

    await assert_refused(live, {"requestsUri": uri}, kind="RequestsNotFound", says=live.store_url)

    assert beside.read_text() == SECRET


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
async def test_no_link_in_the_store_leads_out_of_it(
    store: ObjectStore, folder: Path, beside: Path, link: str, target: str, name: str
) -> None:
    put(folder, "uploads/x.jsonl", SECRET)
    place = folder / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(target.format(beside=beside))

    uri = f"{folder.as_uri()}/{name.format(path=str(beside).lstrip('/'))}"
    await assert_not_found(store, uri, says="links are not followed")


async def test_a_pipe_in_the_store_is_not_waited_for(live: Stack) -> None:
    """A pipe would block the thread that opens it until another process writes into it."""
    live.store_folder.mkdir(exist_ok=True)
    os.mkfifo(live.store_folder / "pipe.jsonl")

    await assert_refused(live, {"requestsUri": f"{live.store_url}/pipe.jsonl"}, kind="RequestsNotFound")


@pytest.mark.slow
async def test_the_store_and_its_own_folders_may_be_links(temporal: DevServer, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "other-disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "manifests").symlink_to(tmp_path / "other-disk")
    async with (
        Emulator() as emulator,
        running_stack(temporal.client, emulator, (tmp_path / "store").as_uri()) as running,
    ):
        emulator.clock.advance(timedelta(hours=1))
        uri = put(running.store_folder, "uploads/requests.jsonl", SECRET)

        run = await running.start(requests_uri=uri)
        await running.saw("create")
        emulator.clock.advance(timedelta(hours=1))

        assert (await run.result()).results_file.lines == 1
        # The lines and the ids of the requests, and what the run has first read of its file.
        assert sorted(path.suffix for path in (tmp_path / "other-disk").iterdir()) == [".ids", ".json", ".jsonl"]


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


@pytest.mark.slow
async def test_invalid_updates_and_signals_are_refused_and_the_run_continues(live: Stack) -> None:
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    live.emulator.faults.add("503", operation="results")
    run = await live.start(requests(2, "senseless"))
    await progress_when(run, lambda progress: progress.phase is Phase.UNDECIDED)

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
