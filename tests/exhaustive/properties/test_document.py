"""The document reader: for any file it returns a plan that is followed, or reports the error and its place."""

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import RunPlan, normalize, plan_of
from message_batches.arazzo.yaml_source import DocumentError
from tests.harness.project import DOCUMENT, PUBLISHED, SIX_OPERATIONS

TEXTS = [path.read_text() for path in (DOCUMENT, PUBLISHED, SIX_OPERATIONS)]
PARSED = [yaml.safe_load(text) for text in TEXTS]

# Words of Arazzo, so that a changed document is often almost valid.
WORDS = st.sampled_from(
    [
        *("retry", "goto", "end", "simple", "regex", "jsonpath", "header", "in_progress", "x-mine", "~/", ""),
        *("submitBatch", "pollBatchStatus", "retrieveResults", "$steps.submitBatch.outputs.batchId", "$inputs.apiKey"),
        *("$response.body", "$response.body#/id", "$response.body#/processing_status == 'ended'", "$statusCode == 200"),
        *('$.processing_status != "ended"', "$[?@.processing_status == 'ended']", "^2..$"),
        "!($statusCode >= 500 || $statusCode == 429)",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)
TRUE_OF_EVERY_200 = [
    {"condition": "$statusCode < 300 && !($statusCode == 201)"},
    {"condition": "^2", "type": "regex", "context": "$statusCode"},
    {"condition": "('it''s' == 'IT''S')"},
]
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=3)
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents") / "document.yml"


def read(file: Path, content: str | bytes) -> RunPlan | None:
    """Return the plan; None for a document that is refused in one line with its file and, if known, its place."""
    file.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    try:
        return plan_of(load_document(file))
    except DocumentError as error:
        refusal = error
    assert refusal.place.startswith(str(file))
    assert refusal.pointer.startswith("#")
    assert str(refusal).startswith(str(file))
    assert str(refusal).isprintable()
    assert refusal.message
    return None


def edited(value: Any, draw: st.DrawFn) -> Any:
    """Copy the data with a change somewhere in it."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 9)) == 0:
        return draw(VALUES)
    changed: Any = copy.copy(value)
    keys = list(changed) if isinstance(changed, dict) else range(len(changed))
    key: Any = draw(st.sampled_from(list(keys)))
    match draw(st.sampled_from(["within", "within", "within", "within", "delete", "twice"])):
        case "delete":
            del changed[key]
        case "twice" if isinstance(changed, list):
            changed.insert(draw(st.integers(0, len(changed))), copy.deepcopy(changed[key]))
        case "twice":
            changed[draw(WORDS)] = changed[key]
        case _:
            changed[key] = edited(changed[key], draw)
    return changed


@st.composite
def changed_documents(draw: st.DrawFn) -> str:
    """Generate one of the documents, with up to three changes in its data."""
    data = draw(st.sampled_from(PARSED))
    for _ in range(draw(st.integers(1, 3))):
        data = edited(data, draw)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Return the objects of Arazzo in a document: those that may have an extension."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key not in ("inputs", "outputs", "payload", "components"):
                yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


@st.composite
def other_documents(draw: st.DrawFn) -> str:
    """Generate readable documents: with other texts, numbers, extensions and criteria, and another order of steps."""
    data = copy.deepcopy(draw(st.sampled_from(PARSED[:2])))
    everywhere = list(nodes(data))
    for node in draw(st.lists(st.sampled_from(everywhere), max_size=4)):
        node[f"x-{draw(KEYS)}"] = draw(PLAIN)
    for node in everywhere:
        for field in ("title", "summary", "description"):
            if field in node and draw(st.booleans()):
                node[field] = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
        if "retryAfter" in node:
            node["retryAfter"] = draw(st.floats(1e-3, 604_800) | st.integers(1, 604_800))
        if "retryLimit" in node and draw(st.booleans()):
            node["retryLimit"] = draw(st.integers(0, 1_000_000))
    for workflow in data["workflows"]:
        workflow["steps"] = draw(st.permutations(workflow["steps"]))
        for step in workflow["steps"]:
            step.setdefault("successCriteria", []).extend(
                draw(st.lists(st.sampled_from(TRUE_OF_EVERY_200), max_size=2))
            )
    # Not PyYAML's own form: it leaves texts unquoted that are numbers in YAML 1.2.
    return json.dumps(data, indent=draw(st.sampled_from([None, 2])))


@st.composite
def changed_texts(draw: st.DrawFn) -> bytes:
    """Generate one of the documents, with lines lost, swapped or repeated, and bytes inserted."""
    lines = draw(st.sampled_from(TEXTS)).encode().split(b"\n")
    for _ in range(draw(st.integers(1, 4))):
        here, there = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "swap", "repeat", "put"])):
            case "drop":
                del lines[here : here + draw(st.integers(1, 5))]
            case "swap":
                lines[here], lines[there] = lines[there], lines[here]
            case "repeat":
                lines.insert(there, lines[here])
            case "put":
                at = draw(st.integers(0, len(lines[here])))
                put = draw(
                    st.binary(max_size=6) | st.text(max_size=6).map(lambda text: text.encode("utf-8", "replace"))
                )
                lines[here] = lines[here][:at] + put + lines[here][at:]
        assume(lines)
    return b"\n".join(lines)


@given(content=st.binary(max_size=400) | st.text(max_size=400))
@example(content='a: "\\UFFFFFFFF"')
@example(content='a: "\\U00110000"')
@example(content=f"%YAML 1.{'9' * 5000}\n---\na: b")
@example(content="a: " + "[" * 10_000 + "]" * 10_000)
@example(content="{" * 10_000)
def test_any_bytes_are_refused_with_their_place(content: str | bytes, file: Path) -> None:
    assert read(file, content) is None


@given(content=changed_texts() | changed_documents())
@example(content=json.dumps({**PARSED[0], "x-mine": "\ud83d"}))
@example(content=json.dumps({**PARSED[0], "x-\ud83d": 1}))
@example(content=TEXTS[0].replace("info:", '"in\\nfo\\x1b[2J": 1\ninfo:', 1))
def test_a_document_that_was_changed_gives_a_plan_or_is_refused_with_its_place(
    content: str | bytes, file: Path
) -> None:
    read(file, content)


@given(condition=st.text(max_size=80) | st.lists(WORDS, max_size=4).map(" && ".join), kind=WORDS)
@example(condition="x{99999999999999999999}", kind="regex")
@example(condition="(" * 240 + "1 == 1" + ")" * 240, kind="simple")
@example(condition="!" * 500, kind="jsonpath")
@example(condition="$statusCode == 1e999", kind="simple")
@example(condition="[[a]", kind="regex")
def test_any_condition_can_be_tried_or_is_refused_with_its_place(condition: str, kind: str, file: Path) -> None:
    document = copy.deepcopy(PARSED[0])
    criterion = {
        "condition": condition,
        "type": kind,
        "context": "$statusCode" if kind == "regex" else "$response.body",
    }
    document["workflows"][0]["steps"][1]["successCriteria"].append(criterion)

    read(file, json.dumps(document))


def test_a_condition_is_evaluated_within_the_default_stack(file: Path) -> None:
    # Hypothesis raises the interpreter's limit, so this one is tried without it.
    condition = "(" * 240 + "1 == 1" + ")" * 240
    document = copy.deepcopy(PARSED[0])
    document["workflows"][0]["steps"][1]["successCriteria"].append({"condition": condition})

    assert read(file, json.dumps(document)) is None


@given(content=other_documents() | changed_documents() | changed_texts())
def test_the_valid_form_of_a_document_has_the_same_plan_and_is_its_own_valid_form(
    content: str | bytes, file: Path
) -> None:
    plan = read(file, content)
    if plan is None:
        return
    valid = normalize(load_document(file))

    again = read(file, valid)

    assert again is not None
    assert again.model_copy(update={"deviations": ()}) == plan.model_copy(update={"deviations": ()})
    assert len(again.deviations) <= len(plan.deviations)
    assert normalize(load_document(file)) == valid


@given(content=other_documents())
@example(content=json.dumps({**PARSED[0], "x-mine": "\U0001f600"}))
def test_an_equivalent_document_is_read(content: str, file: Path) -> None:
    assert read(file, content)


@st.composite
def seconds(draw: st.DrawFn) -> tuple[str, timedelta]:
    """Generate a number as YAML may write it, and the duration that it means."""
    count = draw(st.integers(1, 604_800))
    form = draw(st.sampled_from(["{}", "{}.0", "+{}", "0{}", "{}e0", "{:#x}", "0o{:o}"]))
    micro = draw(st.integers(0, 999_999)) if form == "{}" and count < 604_800 else 0
    written = form.format(count) + (f".{micro:06}" if micro else "")
    return written, timedelta(seconds=count, microseconds=micro)


@given(
    text=st.sampled_from(TEXTS[:2]),
    after=seconds(),
    limit=st.integers(0, 10_000_000),
)
def test_a_run_waits_as_long_and_as_often_as_the_document_says(
    text: str, after: tuple[str, timedelta], limit: int, file: Path
) -> None:
    written, meant = after

    plan = read(
        file,
        text.replace("retryAfter: 30", f"retryAfter: {written}").replace("retryLimit: 2880", f"retryLimit: {limit}"),
    )

    assert plan is not None
    assert plan.poll.retry_after == meant
    assert plan.poll.retry_limit == limit


@given(
    field=st.sampled_from(["retryAfter: 30", "retryLimit: 2880"]),
    value=st.floats(max_value=0) | st.floats(min_value=10_000_001) | st.just(float("nan")) | st.integers(max_value=-1),
)
@example(field="retryAfter: 30", value=1e308)
@example(field="retryAfter: 30", value=5e-324)
@example(field="retryLimit: 2880", value=10**400)
def test_a_cadence_that_no_run_could_keep_is_refused(field: str, value: float, file: Path) -> None:
    assume(not (field.startswith("retryLimit") and value == 0))
    name = field.partition(":")[0]

    assert read(file, TEXTS[0].replace(field, f"{name}: {yaml.safe_dump(value).split()[0]}", 1)) is None
