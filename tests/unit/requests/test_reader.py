import gzip
import hashlib
import json
import pickle
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from message_batches.contract import NextAction
from message_batches.errors import InvalidRequests
from message_batches.requests import forms
from message_batches.requests.manifest import store_manifest
from message_batches.requests.reader import CheckedRequests, UnreadableFile, read_requests
from message_batches.storage.object_store import open_store

GOOD: dict[str, Any] = {
    "model": "claude-sonnet-5",
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


ITEMS = [request("a"), request("b", top_k=1.0), request("c", system="line\nbreak { [ ] }")]
FORMS = {
    "jsonl": b"\n".join(map(dump, ITEMS)),
    "jsonl-windows": b"\xef\xbb\xbf" + b"\r\n\r\n".join(map(dump, ITEMS)) + b"\r\n",
    "array": dump(ITEMS),
    "array-pretty": b"\xef\xbb\xbf \n" + dump(ITEMS, indent=2),
    "array-crlf": dump(ITEMS, indent="\t").replace(b"\n", b"\r\n"),
    "object": dump({"requests": ITEMS}),
    "object-pretty": b"\n" + dump({"requests": ITEMS}, indent=4) + b"\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_requests(read: Read, form: str) -> None:
    requests = read(FORMS[form])
    assert [json.loads(line) for line in lines(requests)] == ITEMS
    assert requests.items() == ITEMS
    assert requests.count == 3
    assert requests.body_bytes == len(b'{"requests":[' + b",".join(lines(requests)) + b"]}")
    assert requests.sha256 == hashlib.sha256(b"".join(line + b"\n" for line in lines(requests))).hexdigest()
    assert requests.models == {"claude-sonnet-5": 3}
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
import zlib
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
    manifest = await store_manifest(open_store((tmp_path / "store").as_uri()), requests)
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
        (dump(ITEMS[0]).decode().encode("utf-16-le"), "UTF-16"),
        (dump(ITEMS).decode().encode("utf-16-be"), "UTF-16"),
        (dump(ITEMS[0]).decode().encode("utf-32"), "UTF-32"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"\x89PNG\r\n\x1a\n", "not text"),
        (zlib.compress(FORMS["jsonl"]), "not text"),
        (pickle.dumps(ITEMS), "not text"),
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
        (b"hello\n", f"line 1: {forms.TEXT}"),
        (dump(ITEMS[0]) + b"\nhello\n", "line 2: not JSON: Expecting value (column 1)"),
        (b"requests.jsonl:" + dump(ITEMS[0]), f"line 1: {forms.BEFORE}"),
        (b"| custom_id | params |\n|---|---|\n", f"line 1: {forms.TABLE}"),
        (
            dump([ITEMS[0]]) + b"\n" + dump([ITEMS[1]]),
            "line 2: not JSON: Extra data (column 1), something after the JSON",
        ),
        (dump({"type": "error", "error": {"type": "api_error"}}), f"line 1: {forms.RESULT}"),
        (b"     1\t" + dump(ITEMS[0]), f"line 1: {forms.BEFORE}"),
        (b"```json\n" + dump(ITEMS[0]) + b"\n```", f"line 1: {forms.BEFORE}"),
        (dump(ITEMS[0]) + b"\r" + dump(ITEMS[1]) + b"\r", f"line 1: {forms.OTHER_ENDS}"),
        (dump(ITEMS[0]) + "\u2028".encode() + dump(ITEMS[1]), f"line 1: {forms.OTHER_ENDS}"),
        (dump({"batch": {"input_config": {}}}), f"line 1: {forms.VERTEX}"),
        (dump({"inputs": "x", "parameters": {}}), f"line 1: {forms.PARAMETERS}"),
        (dump({"customId": "a", "params": GOOD}), "line 1, custom_id: missing: rename `customId`"),
        (dump({"custom_id": "a", "Parameters": GOOD}), "line 1, params: missing: rename `Parameters`"),
        (dump(dump(ITEMS[0]).decode()), "line 1: not an object but a string of JSON: write the object itself"),
        (dump(ITEMS[0]) + b"\n\n<<<<<<< HEAD\n", "line 3: not JSON: Expecting value (column 1), a mark of a merge"),
        (dump(ITEMS[0]) + b";", "line 1: not JSON: Extra data (column 131), a character that JSON does not have"),
        (
            dump(ITEMS[0]) + b'\n{"custom_id":"b","params":{"x":None}}',
            "line 2: not JSON: Expecting value (column 32), a word",
        ),
        (
            dump(ITEMS[0]) + b"\n{'custom_id':'b'}",
            "line 2: not JSON: Expecting property name enclosed in double quotes",
        ),
        (
            "\u00a0".encode() + dump(ITEMS[0]),
            "line 1: not JSON: Expecting value (column 1), the character U+00A0: remove",
        ),
        (
            b'{"custom_id":"a","params":{"x":"C:\\dir"}}',
            "line 1: not JSON: Invalid \\escape (column 35), a backslash itself",
        ),
        (
            b'{"custom_id":"a","params":{"x":"a\tb"}}',
            "line 1: not JSON: Invalid control character at (column 34), write it",
        ),
        (b'{"custom_id":"a","params":{"x":007}}', "line 1: not JSON: Expecting ',' delimiter (column 33), a number in"),
        (
            dump(ITEMS[0]) + b'\n{"custom_id":"b","par',
            "line 2: not JSON: Unterminated string starting at (column 18), the line",
        ),
        (b'{"custom_id":"a","params":{"x":"\xe9"}}', "line 1: not UTF-8 (byte 32): save the file as UTF-8"),
        (dump(ITEMS[0]) + b"\n" + dump(ITEMS[0]), "line 2, custom_id: 'a' is also the custom_id of line 1"),
        (dump([ITEMS[0], {"custom_id": "b"}]), "requests[1].params: missing"),
        (dump([ITEMS[0], ITEMS[0]]), "requests[1].custom_id: 'a' is also the custom_id of requests[0]"),
        (dump({"requests": [7]}), "requests[0]: not an object but a number"),
        (b'[\n{"custom_id": "a",\n', "line 3: not JSON: Expecting property name enclosed in double quotes (column 1)"),
        (b'{"requests": [1,\n2', "line 2: not JSON: Expecting ',' delimiter (column 2)"),
        (b'{"requests": {"a": {"messages": []}}}', f"requests: {forms.MAP}"),
        (b'{"requests": null}', "requests: not a list"),
        (dump({"batch": ITEMS}), f"line 1: {forms.OTHER_NAME}"),
        (dump({"id": 1, "data": ITEMS}), f"line 1: {forms.OTHER_NAME}"),
        (dump(GOOD["messages"]), f"requests[0]: {forms.MESSAGE}"),
        (dump(GOOD["messages"][0]), f"line 1: {forms.MESSAGE}"),
        (dump({"custom_id": "a", "params": json.dumps(GOOD)}), "line 1, params: not an object but a string of JSON"),
        (b"// mine\n" + dump(ITEMS[0]), "line 1: not JSON: Expecting value (column 1), a comment"),
        (b"[\n/* c */\n" + dump(ITEMS[0]) + b"]", "line 2: not JSON: Expecting value (column 1), a comment"),
        (dump(ITEMS[0]) + b"\n# c", "line 2: not JSON: Expecting value (column 1), a comment"),
        # In words of its own from Python 3.13 on.
        (b'{"custom_id":"a","params":{},}', "line 1: not JSON: "),
        (b"\x1e" + dump(ITEMS[0]), "line 1: not JSON: Expecting value (column 1), a record separator"),
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


FIELDS_BESIDE = {
    b'{"requests": [%s], "betas": ["x"]}': "betas: not a field beside `requests`; betas are a header of the batch",
    b'{"betas": ["x"], "requests": [%s]}': "betas: not a field beside `requests`; betas are a header of the batch",
    b'\xef\xbb\xbf {\n "model": "m {[\\"", "n": [1, {"requests": 2}],\n "requests": [%s]}': "model: not a field beside",
    b'{"anthropic-beta": "x",\n"requests": [%s]}': "anthropic-beta: not a field beside `requests`; betas are a header",
    b'{"requests": [%s], "requests": []}': "requests: is there twice",
    b'{"requests": [], "requests": [%s]}': "requests: is there twice",
    b'{"requests": [%s], "r\\u0065quests": []}': "requests: is there twice",
    b'{"x": "' + b"y" * 2_000_000 + b'", "requests": [%s]}': f"line 1: {forms.BODY}",
}


@pytest.mark.parametrize(("form", "problem"), FIELDS_BESIDE.items(), ids=range(len(FIELDS_BESIDE)))
def test_a_field_beside_the_requests_is_refused_by_name(read: Read, form: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequests) as caught:
        read(form.replace(b"%s", dump(ITEMS[0])))

    assert caught.value.problems[0].startswith(problem)
    assert caught.value.action == (NextAction.GIVE_BETAS if b"beta" in form else None)


def test_of_many_fields_beside_the_requests_the_others_are_counted(read: Read) -> None:
    with pytest.raises(InvalidRequests) as caught:
        read(dump({"requests": ITEMS[:1], **{f"x{n}": n for n in range(60)}}))

    assert len(caught.value.problems) == 20
    assert str(caught.value).endswith("\n  and 40 more")


@pytest.mark.parametrize("name", ["metadata", "betas", "custom_ID", "method", "a b\n", "\u0441ustom_id"])
def test_a_field_of_a_request_that_the_api_would_refuse_is_named_with_its_line(read: Read, name: str) -> None:
    with pytest.raises(InvalidRequests) as caught:
        read(dump(ITEMS[0]) + b"\n\n" + dump({**ITEMS[1], name: {"row": 5}}))

    (problem,) = caught.value.problems
    shown = name if name.isidentifier() and name.isascii() else ascii(name)
    assert problem.startswith(f"line 3, {shown}: not a field of a request")
    assert (caught.value.action is NextAction.GIVE_BETAS) == (name == "betas")


def another_form(name: str) -> bytes:
    """Return a file in a form that other tools write."""
    params = ITEMS[0]["params"]
    items: dict[str, Any] = {
        "chat completions": {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": params},
        "body alone": {"custom_id": "a", "body": params},
        "bedrock": {"recordId": "a", "modelInput": {"anthropic_version": "bedrock-2023-05-31", **params}},
        "vertex": {"custom_id": "a", "request": {"anthropic_version": "vertex-2023-10-16", **params}},
        "gemini": {"key": "a", "request": {"contents": [{"parts": [{"text": "hi"}]}]}},
        "parameters": params,
        "a prompt": {"prompt": "hi", "completion": "ho"},
        "flat": {"custom_id": "a", **params},
        "flat with a prompt": {"custom_id": "a", "model": "claude-sonnet-5", "prompt": "hi"},
        "flat with an input": {"custom_id": "a", "model": "claude-sonnet-5", "input": "hi"},
        "instances": {"instances": [{"prompt": "hi"}]},
        "an instance": {"instance": {"prompt": "hi"}},
        "results": {"custom_id": "a", "result": {"type": "expired"}},
        "results of another api": {
            "id": "batch_req_1",
            "custom_id": "a",
            "response": {"status_code": 200},
            "error": None,
        },
        "results of bedrock": {"recordId": "a", "modelInput": params, "modelOutput": {}},
        "a batch": {"id": "msgbatch_1", "type": "message_batch", "request_counts": {}},
        "a map": {"a": params, "b": params},
        "a map of requests": {"a": {"params": params}},
    }
    return dump(items[name])


OTHER_FORMS = {
    "chat completions": forms.OTHER_API,
    "body alone": forms.OTHER_API,
    "bedrock": forms.BEDROCK,
    "vertex": forms.VERTEX,
    "gemini": forms.VERTEX,
    "parameters": forms.PARAMETERS,
    "a prompt": forms.PARAMETERS,
    "flat": forms.FLAT,
    "flat with a prompt": forms.FLAT,
    "flat with an input": forms.FLAT,
    "instances": forms.INSTANCES,
    "an instance": forms.INSTANCES,
    "results": forms.RESULT,
    "results of another api": forms.RESULT,
    "results of bedrock": forms.RESULT,
    "a batch": forms.BATCH,
    "a map": forms.MAP,
    "a map of requests": forms.MAP,
}


@pytest.mark.parametrize(("name", "form"), OTHER_FORMS.items(), ids=OTHER_FORMS)
def test_the_form_of_another_tool_is_named_once_with_what_to_do(read: Read, name: str, form: str) -> None:
    line = another_form(name)

    for data, place in ((b"\n".join([line] * 30), "line 1"), (b"[%s]" % b",\n".join([line] * 30), "requests[0]")):
        with pytest.raises(InvalidRequests) as caught:
            read(data)
        assert caught.value.problems == (f"{place}: {form}",)
        assert "30 problems in 30 requests" in str(caught.value)


TEXTS = {
    "pretty-printed": (b"\n".join(dump(item, indent=2) for item in ITEMS), forms.SEVERAL_LINES),
    "one request pretty-printed": (dump(ITEMS[0], indent="\t"), forms.SEVERAL_LINES),
    "over lines within": (dump(ITEMS[0]).replace(b'"params": {', b'"params": {\n'), forms.SEVERAL_LINES),
    "a map pretty-printed": (dump({"a": ITEMS[0]["params"], "b": ITEMS[0]["params"]}, indent=1), forms.MAP),
    "another api's, pretty-printed": (dump({"custom_id": "a", "body": {}}, indent=1), forms.OTHER_API),
    "commas at the ends": (b",\n".join(map(dump, ITEMS)), forms.JOINED),
    "all on one line": (b" ".join(map(dump, ITEMS)), forms.JOINED),
    "python": (b"{'custom_id': 'a', 'params': {}}\n" * 3, forms.PYTHON),
    "a list of python": (b"[{'custom_id': 'a', 'params': {}}]", forms.PYTHON),
    "csv": (b"custom_id,prompt\na,Say hello\nb,Say it again\n", forms.TABLE),
    "csv of Excel": (b'\xef\xbb\xbf"id";"prompt text";"model"\r\n1;Hello;x\r\n', forms.TABLE),
    "csv without a header": (b'a,"Say hello, please"\nb,"Again"\n', forms.TABLE),
    "csv of quoted cells": (b'"a","Say ""hello"", please!"\n', forms.TABLE),
    "tsv": (b"custom_id\tprompt\na\tSay hello\n", forms.TABLE),
    "yaml": (b"- custom_id: a\n  params:\n", forms.YAML),
    "yaml of an object": (b"requests:\n  - custom_id: a\n", forms.YAML),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", forms.POINTER),
    "a pointer of git-annex": (b"/annex/objects/SHA256E-s9--ab.jsonl\n", forms.POINTER),
    "html": (b"<!DOCTYPE html>\n<html>\n", forms.MARKUP),
}


@pytest.mark.parametrize(("data", "form"), TEXTS.values(), ids=TEXTS)
def test_what_is_not_jsonl_is_named_in_one_sentence(read: Read, data: bytes, form: str) -> None:
    with pytest.raises(InvalidRequests) as caught:
        read(data)

    assert caught.value.problems == (f"line 1: {form}",)
