"""The page: all of it is text, however hostile the replies, ids and names are, and it is never large."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from message_batches.api.models import RequestCounts
from message_batches.models import BatchOutput
from message_batches.prices import PriceList
from message_batches.report.data import Report, cost_by_kind, read_figures
from message_batches.report.moments import Moments
from message_batches.report.page import MAX_BYTES, Commands, clip, page, percent
from message_batches.result_models import Summary
from message_batches.runs.describe import RunStatus, RunView
from message_batches.storage.object_store import ObjectStore, open_store
from tests.harness.landed import error, put_results, reply, without_reply
from tests.harness.requests import request

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
COMMANDS = Commands("results", "again", "retry.invalid.jsonl", "start", "unusable")
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "style": "</style><style>*{display:none}</style>",
    "attribute": "\" onload='x' &amp; '",
    "template": "{{ 7 * 7 }}{% raw %}",
    "controls": "a\x00b\x1b]0;owned\x07\x9bc\x7f\x85",
    "directions": "\u202egpj.exe\u2066\u200f\u061c",
    "hebrew": "\u05e9\u05dc\u05d5\u05dd 123",
    "surrogate": "half \ud83d of a pair",
    "formula": '=HYPERLINK("http://a.invalid","x")',
    "separators": "a\u2028b\u2029c\ufeff",
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "entity": "&lt;b&gt;",
    "comment": "<!-- -->]]>",
    "long": "=" * 1_000_000,
    "longer": "\x00<" * 800_000,
}
SHOWN = {
    "controls": r"a\x00b\x1b]0;owned\x07\x9bc\x7f\x85",
    "directions": r"\u202egpj.exe\u2066\u200f\u061c",
    "surrogate": "half ? of a pair",
    "separators": r"a\u2028b\u2029c\ufeff",
    "noncharacters": r"\ufffe\uffff\U0010ffff",
    "longer": r"\x00<\x00<",
}
"""The texts that are not shown as they are."""


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri())


async def report_of(
    store: ObjectStore, lines: Sequence[bytes], requests: Sequence[dict[str, Any]] | None = None
) -> Report:
    publication = await put_results(store, lines, requests)
    moments = Moments(submitted=NOON, landed=NOON + timedelta(minutes=3))
    figures = await read_figures(store, publication)
    return Report("a-run", publication.landed, figures, moments, cost_by_kind(publication.landed, PriceList()))


def parse(made: bytes) -> ElementTree.Element:
    """Parse a page, which is well-formed, and has what each page must have, and nothing that none may have."""
    text = made.decode()
    assert text.startswith("<!DOCTYPE html>")
    root = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert len(made) < MAX_BYTES
    assert all(each.isprintable() or each in "\n\t\u200c\u200d" or each.isspace() for each in text)
    assert not {"script", "iframe", "img", "link", "object", "form", "base"} & {each.tag for each in root.iter()}
    names = {name for each in root.iter() for name in each.attrib}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src", "srcset")}
    assert [each.attrib["href"] for each in root.iter("a")] in ([], [LINK])
    return root


LINK = "http://127.0.0.1:8233/namespaces/default/workflows/a-run/1/history"


def text_of(root: ElementTree.Element) -> str:
    return " ".join("".join(root.itertext()).split())


async def test_the_policy_allows_the_style_of_the_page_and_nothing_else(store: ObjectStore) -> None:
    root = parse(page(await report_of(store, [reply("a")]), COMMANDS, NOON))

    (style,) = root.iter("style")
    digest = base64.b64encode(hashlib.sha256((style.text or "").encode()).digest()).decode()
    policy = next(each.attrib["content"] for each in root.iter("meta") if "http-equiv" in each.attrib)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in (style.text or "")
    assert "@import" not in (style.text or "")


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_text_is_shown_as_text_wherever_it_stands(store: ObjectStore, kind: str) -> None:
    text = HOSTILE[kind]
    usage = {"inference_geo": text[:50]}
    lines = [
        reply(text[:60], text, stop_reason="end_turn", model=text[:900], usage=usage),
        reply("stopped", text, stop_reason=text[:900] or "x"),
        error("e-" + text[:50], text[:5000], text),
        without_reply("unknown", text[:5000]),
    ]
    made = await report_of(store, [line for line in lines if readable(line)])
    root = parse(page(made, COMMANDS, NOON))

    assert " ".join(SHOWN.get(kind, text[:12]).split()) in text_of(root)


def readable(line: bytes) -> bool:
    """Return whether a line's custom_id is short enough for a result that is landed."""
    return len(json.loads(line)["custom_id"]) <= 64


@pytest.mark.parametrize("text", ["x" * 5000, "<&>" * 3000, "\x00" * 5000, "\U0001f600" * 5000])
async def test_the_page_stays_small_whatever_the_results_are(store: ObjectStore, text: str) -> None:
    lines = [
        reply(
            f"{number:03}" + text[:61],
            text,
            stop_reason="end_turn" if number % 2 else f"{number % 40}{text[:900]}",
            model=f"{number % 97}{text[:300]}",
        )
        for number in range(200)
    ]
    lines += [
        error(f"e{number:03}" + text[:60], f"{number % 50}{text[:900]}", f"{text} {number}") for number in range(200)
    ]
    made = await report_of(store, lines, [request("a", max_tokens=number + 1) for number in range(2000)])
    notes = {
        "paid_twice_unchecked": text,
        "not_deleted": text,
        "possibly_paid_twice": tuple(text[:200] for _ in range(99)),
    }
    commands = Commands(*(f"{text} {number}" for number in range(5)))
    root = parse(page(replace(made, identity=text, run=run_of(made, **notes)), commands, NOON))

    assert len(list(root.iter("details"))) == 300


async def test_texts_are_as_long_as_there_is_room_and_their_size_is_said(store: ObjectStore) -> None:
    few = parse(page(await report_of(store, [reply("a", "word " * 2000)]), COMMANDS, NOON))
    many = parse(page(await report_of(store, [reply(f"r-{n}", "word " * 500) for n in range(900)]), COMMANDS, NOON))

    (shown,) = few.iter("pre")
    texts = [each.text or "" for each in many.iter("pre")]
    assert len(shown.text or "") > 3900
    assert "cut, the whole line has 10 KB" in text_of(few)
    assert len(texts) == 300
    assert all(100 < len(each) < 700 for each in texts)
    assert "300 of 900" in text_of(many)


async def test_a_reply_keeps_its_lines_its_joiners_and_its_blanks(store: ObjectStore) -> None:
    text = "one\n\ttwo \u00a0\u3000 \U0001f469\u200d\U0001f4bb \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    root = parse(page(await report_of(store, [reply("a", text)]), COMMANDS, NOON))

    (shown,) = root.iter("pre")
    assert shown.text == text


async def test_the_page_says_what_came_back_and_what_to_do(store: ObjectStore) -> None:
    lines = [
        *(reply(f"good-{n}", usage={"cache_read_input_tokens": 30}) for n in range(5)),
        reply("cut", stop_reason="max_tokens", usage={"output_tokens": 64}),
        reply("refused", stop_reason="refusal"),
        error("bad", "invalid_request_error", "messages: Field required"),
        error("poor", "invalid_request_error", "Your credit balance is too low"),
        without_reply("late", "expired"),
    ]
    made = await report_of(store, lines, [request(f"r-{n}", max_tokens=64) for n in range(10)])
    root = parse(page(replace(made, run=run_of(made), link=LINK), COMMANDS, NOON))

    shown = text_of(root)
    assert next(root.iter("h1")).text == "5 of 10 requests have a usable reply"
    for said in (
        "5 usable 50 %",
        "2 not usable 20 %",
        "1 expired 10 %",
        "68.2 %",
        "To be corrected first invalid_request_error 1 bad messages: Field required",
        "once credit or a spend limit is settled invalid_request_error 1 poor Your credit balance is too low",
        "Worth sending again as they are expired 1",
        "cut off at max_tokens",
        "max_tokens of the requests: 64 (10)",
        f"sha256 {made.landed.results_file.sha256}",
        "a-run in the Web UI, completed",
        "submitted 2026-11-26 12:00:00",
        "results landed 2026-11-26 12:03:00 +3:00",
    ):
        assert said in shown, said
    assert [each.text and each.text.split() for each in root.iter("code") if each.get("class") == "cmd"] == [
        ["unusable"],
        ["again", "start"],
        ["results"],
    ]


async def test_each_models_share_of_the_cost_and_its_kinds_are_shown(store: ObjectStore) -> None:
    usage = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    lines = [reply("a", usage=usage), reply("b", model="claude-haiku-4-5", usage=usage), reply("c", model="new")]
    made = await report_of(store, lines)
    assert made.landed.cost
    assert made.landed.cost.amount

    shown = text_of(parse(page(made, COMMANDS, NOON)))

    assert f"${made.landed.cost.amount:.2f}" in shown
    assert "(50 %) less than without the batch discount; partial: some models have no price" in shown
    assert shown.index("claude-sonnet-5") < shown.index("claude-haiku-4-5") < shown.index("new 1 request no price")


async def test_results_of_an_older_version_have_a_page_too(store: ObjectStore) -> None:
    made = await report_of(store, [reply("a"), error("b")])
    summary = Summary(counts=made.landed.summary.counts, errors=made.landed.summary.errors)
    landed = made.landed.model_copy(update={"summary": summary, "cost": None})
    shown = text_of(parse(page(replace(made, landed=landed, kinds={}, moments=Moments()), COMMANDS, NOON)))

    assert "1 of 2 requests succeeded" in shown
    assert "landed by an older version" in shown
    assert "What Temporal knows of the run is not here" in shown


async def test_a_batch_without_results_has_a_page(store: ObjectStore) -> None:
    shown = text_of(parse(page(await report_of(store, []), COMMANDS, NOON)))

    assert "None of 0 requests" in shown


async def test_an_address_of_another_kind_is_no_link(store: ObjectStore) -> None:
    made = await report_of(store, [reply("a")])

    root = parse(page(replace(made, run=run_of(made), link="javascript:alert(1)"), COMMANDS, NOON))

    assert list(root.iter("a")) == []


def run_of(made: Report, **output: Any) -> RunView:
    landed = made.landed
    ended = BatchOutput(
        batch_id=made.name,
        request_counts=RequestCounts(),
        results_url=None,
        results=None,
        results_file=landed.results_file,
        verified=True,
        summary=landed.summary,
        **output,
    )
    return RunView("a-run", "1", "1", RunStatus.COMPLETED, "queue", NOON, output=ended)


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc…"),
        ("<b>", 8, "<b…"),
        ("é\x00", 6, "é\\x00"),
        ("é\x00", 5, "é…"),
        ("", 0, ""),
    ],
)
def test_a_cut_text_has_at_most_so_many_bytes_in_html(text: str, most: int, shown: str) -> None:
    assert clip(text, most) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 10, "0 %"),
        (1, 3, "33.3 %"),
        (10, 10, "100 %"),
        (1, 10**5, "<0.1 %"),
        (99_999, 10**5, ">99.9 %"),
        (0, 0, "none"),
    ],
)
def test_a_share_is_nothing_or_all_only_if_it_is(part: int, whole: int, shown: str) -> None:
    assert percent(part, whole) == shown
    assert percent(Decimal(part), Decimal(whole)) == shown


def test_the_style_has_no_character_that_html_would_read() -> None:
    css = (Path(__file__).parents[3] / "message_batches" / "report" / "page.css").read_text("utf-8")

    assert not re.search("[<&]", css)
