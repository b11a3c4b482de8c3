import gzip
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from message_batches.errors import InvalidRequests
from message_batches.requests.manifest import write_manifest
from message_batches.requests.reader import CheckedRequests, UnreadableFile, read_requests
from message_batches.storage.object_store import open_store

GOOD: dict[str, Any] = {
    "model": "claude-a",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi \u2028 ü"}],
}


def request(custom_id: str = "a", **params: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": {**GOOD, **params}}


def dump(item: Any, **options: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False, **options).encode()


class Read(Protocol):
    def __call__(self, data: bytes, version: str = "2023-06-01") -> CheckedRequests: ...


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    with ExitStack() as opened:

        def read_(data: bytes, version: str = "2023-06-01") -> CheckedRequests:
            file = tmp_path / "requests"
            file.write_bytes(data)
            return opened.enter_context(read_requests(str(file), version=version))

        yield read_


def lines(requests: CheckedRequests) -> list[bytes]:
    return requests.lines.read(0, requests.lines.size).split(b"\n")[:-1]


ITEMS = [request("a"), request("b", x=1.0), request("c", x="line\nbreak { [ ] }")]
FORMS = {
    "jsonl": b"\n".join(map(dump, ITEMS)),
    "jsonl-windows": b"\xef\xbb\xbf" + b"\r\n\r\n".join(map(dump, ITEMS)) + b"\r\n",
    "array": dump(ITEMS),
    "array-pretty": b"\xef\xbb\xbf \n" + dump(ITEMS, indent=2),
    "array-crlf": dump(ITEMS, indent="\t").replace(b"\n", b"\r\n"),
    "object": dump({"requests": ITEMS}),
    "object-pretty": b"\n" + dump({"requests": ITEMS, "more": 1}, indent=4) + b"\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_requests(read: Read, form: str) -> None:
    requests = read(FORMS[form])
    assert [json.loads(line) for line in lines(requests)] == ITEMS
    assert requests.items() == ITEMS
    assert requests.count == 3
    assert requests.body_bytes == len(b'{"requests":[' + b",".join(lines(requests)) + b"]}")
    assert requests.sha256 == hashlib.sha256(b"".join(line + b"\n" for line in lines(requests))).hexdigest()
    assert requests.models == {"claude-a": 3}
    assert requests.max_tokens == 300
    assert requests.warnings == []


def test_the_content_of_the_file_is_unchanged(read: Read) -> None:
    odd = b'{"custom_id" : "a","params":{"x":1.0e2,"y":"\\u00e9\\/","z":12345678901234567890123, "e":[ ]}}'
    requests = read(odd + b"\n")
    assert lines(requests) == [odd]
    requests = read(b"[\n" + odd.replace(b",", b",\n") + b"\n]")
    assert lines(requests) == [odd.replace(b" ", b"")]


COUNT = """
import sys
from pathlib import Path
from message_batches.errors import StoreUnavailable
from message_batches.requests.reader import read_requests

try:
    with read_requests(sys.argv[1], scratch=Path(sys.argv[2]) if sys.argv[2:] else None) as requests:
        print(requests.count)
except StoreUnavailable as error:
    print(error)
"""


async def test_the_hash_is_that_of_the_manifest(read: Read, tmp_path: Path) -> None:
    requests = read(FORMS["array-pretty"])
    manifest = await write_manifest(open_store((tmp_path / "store").as_uri()), requests.chunks())
    assert manifest.sha256 == requests.sha256
    assert manifest.body_bytes == requests.body_bytes
    assert manifest.count == requests.count


@pytest.mark.parametrize(
    "params", [b'{"model":"a","model":"b"}', b'{"x":[{"y":1,"y":2}]}', b'{"x":1.0000000000000000001}', b'{"x":1e-400}']
)
def test_requests_that_a_payload_would_change_are_not_sent_inline(read: Read, params: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        read(b'{"custom_id":"a","params":%s}\n' % params).items()


@pytest.mark.parametrize("params", [b'{"x":1e5}', b'{"x":-0.0}', b'{"x":123456789012345678901234567890}', b'{"x":0.1}'])
def test_requests_that_a_payload_keeps_unchanged_are_sent_inline(read: Read, params: bytes) -> None:
    assert read(b'{"custom_id":"a","params":%s}\n' % params).items() == [
        {"custom_id": "a", "params": json.loads(params)}
    ]


def test_standard_input_is_a_dash() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT, "-"], input=FORMS["jsonl"], capture_output=True, check=True)
    assert done.stdout == b"3\n"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n\n", "is empty"),
        (dump(ITEMS[0]).decode().encode("utf-16"), "UTF-16"),
        (dump(ITEMS[0]).decode().encode("utf-16-le"), "not text"),
        (gzip.compress(FORMS["jsonl"]), "gzip"),
        (b"PK\x03\x04...", "zip"),
        (b"\x00\x01\x02", "not text"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_sentence(read: Read, tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(UnreadableFile, match=says) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "requests") in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(b"")
    for path in (tmp_path / "none.jsonl", tmp_path, tmp_path / "requests" / "x"):
        with pytest.raises(UnreadableFile, match=f"{re.escape(str(path))}[: ].+$"), read_requests(str(path)):
            pass


def test_a_scratch_folder_that_is_full_is_named_and_not_the_file(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes(b"".join(dump(request(str(n), x="x" * 1_000_000)) + b"\n" for n in range(6)))
    (tmp_path / "scratch").mkdir()
    script = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -c "$3" "$4" "$1"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(tmp_path / "scratch")]
    try:
        subprocess.run([*inside, "true", "", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system of one's own cannot be mounted here")

    done = subprocess.run([*inside, sys.executable, COUNT, str(file)], capture_output=True, text=True)

    assert done.stdout == (
        f"the scratch folder {tmp_path / 'scratch'} cannot be used: No space left on device. Free space there, or set "
        "MESSAGE_BATCHES_SCRATCH\n"
    )
    assert done.stderr == ""


def test_nothing_is_left_in_the_scratch_folder(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes(FORMS["jsonl"])
    (tmp_path / "scratch").mkdir()

    with read_requests(str(file), scratch=tmp_path / "scratch") as requests:
        assert requests.count == 3
        assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (dump(ITEMS[0]) + b"\n{}\n", "line 2, custom_id: missing"),
        (b"hello\n", "line 1: not JSON: Expecting value (column 1)"),
        (dump(ITEMS[0]) + b"\n" + dump(ITEMS[0]), "line 2, custom_id: 'a' is also the custom_id of line 1"),
        (dump([ITEMS[0], {"custom_id": "b"}]), "requests[1].params: missing"),
        (dump([ITEMS[0], ITEMS[0]]), "requests[1].custom_id: 'a' is also the custom_id of requests[0]"),
        (dump({"requests": [7]}), "requests[0]: not an object but a number"),
        (b'[\n{"custom_id": "a",\n', "line 3: not JSON: Expecting property name enclosed in double quotes (column 1)"),
        (b'{"requests": [1,\n2', "line 2: not JSON: Expecting ',' delimiter (column 2)"),
        (b'{"requests": {}}', "Expected `array`, got `object` - at `$.requests`"),
        (b"[" * 200_000, "maximum recursion depth exceeded"),
        (b'[{"custom_id":"a","params":{"x":"\xff"}}]', "requests[0]: not UTF-8 (byte 32)"),
    ],
)
def test_problems_are_reported_with_their_place(read: Read, data: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequests) as caught:
        read(data)
    assert caught.value.problems[0].startswith(problem)


@pytest.mark.parametrize("data", [b"[]", b'{"requests": []}', b' { "requests" : [ ] } '])
def test_no_requests_are_refused(read: Read, data: bytes) -> None:
    with pytest.raises(InvalidRequests, match="no requests"):
        read(data)


WARNED = [
    ({"stream": True}, "`stream` is true"),
    ({"max_tokens": 0}, "`max_tokens` must be 1 or more"),
    ({"max_tokens": -1}, "`max_tokens` must be 1 or more"),
    ({"max_tokens": "100"}, "`max_tokens` must be 1 or more"),
    ({"max_tokens": 300_001}, "`max_tokens` is over 300,000"),
    ({"max_tokens": None}, "`max_tokens` is missing"),
    ({"messages": None}, "`messages` is missing"),
    ({"messages": "hi"}, "`messages` is not a list"),
    ({"messages": []}, "`messages` is empty"),
    ({"model": None}, "`model` is missing"),
    ({"model": 7}, "`model` is not a name"),
    ({"speed": "fast"}, "`speed` is not accepted in a batch"),
    ({"store": False}, "`store` is not accepted in a batch"),
    ({"previous_thread_event_id": "x"}, "`previous_thread_event_id` is not accepted"),
    ({"cache_hint": 1}, "`cache_hint` is not accepted"),
    ({"context_hint": 1}, "`context_hint` is not accepted"),
    ({"betas": ["x"]}, "`betas` is not a parameter of a message"),
    ({"research_preview_2026_02": "active"}, "`research_preview_2026_02` is not accepted"),
    ({"billing_policy": {"bill_to": "user_profile"}}, "`billing_policy.bill_to` user_profile is not accepted"),
]


@pytest.mark.parametrize(("params", "says"), WARNED)
def test_requests_that_will_be_errored_get_a_warning(read: Read, params: dict[str, Any], says: str) -> None:
    requests = read(dump(request("a", **params)))
    (warning,) = requests.warnings
    assert warning.message.startswith(says)
    assert (warning.count, warning.custom_ids) == (1, ("a",))
    assert warning.message in str(warning)


def test_valid_requests_get_no_warning(read: Read) -> None:
    fine = request("a", stream=False, temperature=0.5, research_preview_2026_02="off", max_tokens=300_000, tools=[])
    assert read(dump(fine)).warnings == []


def test_an_empty_request_gets_every_warning(read: Read) -> None:
    warnings = read(b'{"custom_id":"a","params":{}}').warnings
    assert [w.message for w in warnings] == ["`model` is missing", "`messages` is missing", "`max_tokens` is missing"]


def test_warnings_are_grouped_and_name_the_first_three(read: Read) -> None:
    items = [request(f"r-{n}", stream=n > 5, speed="x") for n in range(10)]
    warnings = read(dump(items)).warnings
    assert [(warning.count, warning.custom_ids) for warning in warnings] == [
        (10, ("r-0", "r-1", "r-2")),
        (4, ("r-6", "r-7", "r-8")),
    ]
    assert [name in str(warning) for name, warning in zip(("`speed`", "`stream`"), warnings, strict=True)] == [True] * 2


STRICTER = [
    ({"temperature": 1}, "`temperature` is not accepted since version 2026-10-21"),
    ({"top_p": 1}, "`top_p`"),
    ({"top_k": 1}, "`top_k`"),
    ({"messages": [{"role": "assistant", "content": [{"type": "document"}] * 2}]}, "a `document` in an assistant"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "citations": [1]}]}]}, "`citations` in a user's text"),
]


@pytest.mark.parametrize(("params", "says"), STRICTER)
def test_some_warnings_depend_on_the_api_version(read: Read, params: dict[str, Any], says: str) -> None:
    data = dump(request("a", **params))
    assert read(data).warnings == []
    (warning,) = read(data, version="2026-10-21").warnings
    assert warning.message.startswith(says)


def test_models_are_counted_and_tokens_added_up(read: Read) -> None:
    items = [
        request("a"),
        request("b", model="claude-b", max_tokens=7),
        request("c", model="claude-b"),
        request("d", model=1),
    ]
    requests = read(dump(items))
    assert requests.models == {"claude-b": 2, "claude-a": 1, "(none)": 1}
    assert requests.max_tokens == 307
