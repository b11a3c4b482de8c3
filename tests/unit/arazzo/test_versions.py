"""The versions of Arazzo: what 1.1 has brought is read or refused by name, and the files of sources are looked for."""

from pathlib import Path
from typing import Any

import pytest

from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import normalize, plan_of
from tests.harness.project import DOCUMENT
from tests.unit.arazzo.editing import (
    POLL,
    RETRIEVE,
    SUBMIT,
    Edit,
    Parsed,
    Refusals,
    W,
    assert_refused,
    each,
    edited,
    plan_after,
    put,
    retry,
    step,
    workflow,
)

OURS = plan_of(load_document(DOCUMENT))
SELF = "https://example.com/workflows/batch.arazzo.yaml"
ASYNC = {"name": "events", "url": "https://example.com/events.yaml", "type": "asyncapi"}


def in_1_1(edit: Edit) -> Edit:
    """Return an edit that also makes it a document of version 1.1."""

    def both(document: Parsed) -> None:
        document["arazzo"] = "1.1.0"
        edit(document)

    return both


def pointer(place: str, kind: Any = "jsonpointer") -> Parsed:
    return {"context": "$response.body", "selector": place, "type": kind}


NEW: dict[str, tuple[Edit, str]] = {
    "$self": (lambda document: document.update({"$self": SELF}), "#/$self"),
    "another kind of source": (
        lambda document: document["sourceDescriptions"].append(ASYNC),
        "#/sourceDescriptions/1/type",
    ),
    "what a step depends on": (put("steps", 1, "dependsOn", to=["submitBatch"]), f"{POLL}/dependsOn"),
    "a selector": (put("steps", 0, "outputs", "batchId", to=pointer("/id")), f"{SUBMIT}/outputs/batchId"),
    "a selector of a version": (
        put("steps", 0, "outputs", "batchId", to=pointer("/id", {"type": "jsonpointer", "version": "rfc6901"})),
        f"{SUBMIT}/outputs/batchId",
    ),
    "a JSONPath": (
        put("steps", 1, "outputs", "resultsUrl", to=pointer("$.results_url", "jsonpath")),
        f"{POLL}/outputs/resultsUrl",
    ),
    "a selector of everything": (
        put("steps", 2, "outputs", "results", to=pointer("$", "jsonpath")),
        f"{RETRIEVE}/outputs/results",
    ),
}


@pytest.mark.parametrize(("edit", "place"), NEW.values(), ids=NEW)
def test_what_a_run_can_follow_of_1_1_is_read_there_and_refused_in_1_0(edit: Edit, place: str, tmp_path: Path) -> None:
    assert plan_after(tmp_path, in_1_1(edit)) == OURS
    assert_refused(edited(tmp_path, edit), place, "is of Arazzo 1.1, and the document says 1.0.1")


def test_a_timeout_is_read_and_reported(tmp_path: Path) -> None:
    plan = plan_after(tmp_path, in_1_1(put("steps", 1, "timeout", to=60_000)))

    assert plan.poll == OURS.poll
    (deviation,) = plan.deviations
    assert deviation.startswith(f"{POLL}/timeout: A run has its own limits for a call")
    assert_refused(edited(tmp_path, put("steps", 1, "timeout", to=60_000)), f"{POLL}/timeout", "is of Arazzo 1.1")


def test_a_document_with_its_own_address_keeps_it(tmp_path: Path) -> None:
    file = edited(tmp_path, in_1_1(lambda document: document.update({"$self": SELF})))

    file.write_text(normalize(load_document(file)))

    assert f"$self: {SELF}" in file.read_text()
    assert plan_of(load_document(file)) == OURS


REFUSED: Refusals = {
    "a message to send": (put("steps", 0, "action", to="send"), f"{SUBMIT}/action", "sends or receives messages"),
    "a channel": (put("steps", 1, "channelPath", to="x"), f"{POLL}/channelPath", "sends or receives messages"),
    "a correlation": (put("steps", 1, "correlationId", to="x"), f"{POLL}/correlationId", "sends or receives messages"),
    "a later step": (
        put("steps", 0, "dependsOn", to=["pollBatchStatus"]),
        f"{SUBMIT}/dependsOn",
        "does not run before",
    ),
    "an unknown step": (put("steps", 1, "dependsOn", to=["$workflows.x"]), f"{POLL}/dependsOn", "$workflows.x"),
    "the query as a whole": (
        lambda document: step(document, 0)["parameters"].append({"name": "q", "in": "querystring", "value": "x"}),
        f"{SUBMIT}/parameters/2",
        "does not send q",
    ),
    "a selector of several values": (
        put("steps", 0, "outputs", "batchId", to=pointer("$..id", "jsonpath")),
        f"{SUBMIT}/outputs/batchId",
        "a selector (Arazzo 1.1) of one value",
    ),
    "a selector of XML": (put("outputs", "batchId", to=pointer("/id", "xpath")), f"{W}/outputs/batchId", "a selector"),
    "half a selector": (put("outputs", "batchId", to={"selector": "/id"}), f"{W}/outputs/batchId", "a selector"),
    "another output by a selector": (
        put("steps", 1, "outputs", "resultsUrl", to=pointer("/type")),
        f"{POLL}/outputs/resultsUrl",
        "must be $response.body#/results_url",
    ),
    "inputs of no workflow": (
        lambda document: retry(document).update(parameters=[{"name": "a", "value": 1}]),
        f"{POLL}/onFailure/0/parameters",
        "there is none",
    ),
    "an address with a fragment": (lambda document: document.update({"$self": f"{SELF}#x"}), "#/$self", "no fragment"),
    "a negative timeout": (put("steps", 1, "timeout", to=-1), f"{POLL}/timeout", "greater than or equal to 0"),
}


@each(REFUSED)
def test_what_a_run_cannot_follow_of_1_1_is_refused_by_name(
    edit: Edit, pointer: str, words: str, tmp_path: Path
) -> None:
    assert_refused(edited(tmp_path, in_1_1(edit)), pointer, words)


@pytest.mark.parametrize(
    ("version", "whole"),
    [("1.1", "1.1.0"), (1.1, "1.1.0"), ("1.0", "1.0.1"), (1.0, "1.0.1"), ("1", "1.0.1"), (1, "1.0.1")],
)
def test_the_whole_of_a_version_is_named(version: Any, whole: str, tmp_path: Path) -> None:
    file = edited(tmp_path, lambda document: document.update(arazzo=version))

    assert_refused(file, "#/arazzo", f"is not a whole version; write `arazzo: {whole}`")


@pytest.mark.parametrize("version", ["1.2.0", "1.10.0", "2.0.0", "1.2", "0.9.0"])
def test_another_version_is_named_as_unknown(version: str, tmp_path: Path) -> None:
    file = edited(tmp_path, lambda document: document.update(arazzo=version))

    assert_refused(file, "#/arazzo", "is a version that this reader does not know")


@pytest.mark.parametrize("version", ["1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.1.0-rc1"])
def test_the_known_versions_are_read(version: str, tmp_path: Path) -> None:
    assert plan_after(tmp_path, lambda document: document.update(arazzo=version)) == OURS


URLS = {
    "./nothing.yml": False,
    "openapi": False,
    "/etc/hostname-that-is-not-there": False,
    "file:///nothing.yml": False,
    f"./{'x' * 5000}": False,
    "./openapi/claude-messages-api.yml": True,
    "openapi/claude%2Dmessages-api.yml#/paths": True,
    (DOCUMENT.parent / "openapi" / "claude-messages-api.yml").as_uri(): True,
    "https://example.com/claude-messages-api.yml": True,
}


@pytest.mark.parametrize(("url", "there"), URLS.items(), ids=lambda value: str(value)[:40])
def test_a_source_whose_file_is_not_there_is_a_deviation(url: str, there: bool, tmp_path: Path) -> None:
    plan = plan_after(tmp_path, lambda document: document["sourceDescriptions"][0].update(url=url))

    assert plan.model_copy(update={"deviations": ()}) == OURS
    assert [deviation.partition(": ")[0] for deviation in plan.deviations] == (
        [] if there else ["#/sourceDescriptions/0/url"]
    )


DESCRIPTIONS = {
    "arazzo: 1.0.1\n": ("openapi", "arazzo"),
    '{\n  "arazzo": "1.1.0"}': (None, "arazzo"),
    "# ours\nasyncapi: 3.0.0\n": ("openapi", "asyncapi"),
    "openapi: 3.1.0\ninfo:\n  arazzo: x\n": ("asyncapi", "openapi"),
    '{"swagger": "2.0"}': ("openapi", None),
    "openapi: 3.1.0\n": ("openapi", None),
    "title: x\n": ("openapi", None),
}


@pytest.mark.parametrize(("content", "types"), DESCRIPTIONS.items(), ids=range(len(DESCRIPTIONS)))
def test_a_source_of_another_type_than_it_is_declared_is_a_deviation(
    content: str, types: tuple[str | None, str | None], tmp_path: Path
) -> None:
    declared, found = types
    (tmp_path / "source.yml").write_text(content)

    def edit(document: Parsed) -> None:
        document["arazzo"] = "1.1.0"
        source = {"name": "claudeApi", "url": "./source.yml"} | ({"type": declared} if declared else {})
        document["sourceDescriptions"] = [source]

    plan = plan_after(tmp_path, edit)

    assert plan.model_copy(update={"deviations": ()}) == OURS
    expected = f"is of the type {found}, and is declared as {declared or 'openapi'}; write `type: {found}`"
    assert len(plan.deviations) == bool(found)
    assert not found or expected in plan.deviations[0]


def test_a_document_without_an_api_among_its_sources_is_a_deviation(tmp_path: Path) -> None:
    plan = plan_after(tmp_path, in_1_1(lambda document: document.update(sourceDescriptions=[ASYNC])))

    assert plan.poll == OURS.poll
    (deviation,) = plan.deviations
    assert deviation.startswith("#/sourceDescriptions/0/type: No source is of `type: openapi`")


def test_other_workflows_of_the_document_are_looked_at_too(tmp_path: Path) -> None:
    def edit(document: Parsed) -> None:
        document["workflows"].append({**workflow(document), "workflowId": "other"})
        document["workflows"][1]["steps"] = [{**step(document, 0), "timeout": 1}]

    assert_refused(edited(tmp_path, edit), "#/workflows/1/steps/0/timeout", "is of Arazzo 1.1")
