"""The metrics of a real worker after real runs; the dashboard and the alerts use no others."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from message_batches.emulator import Emulator
from message_batches.listener import CannotListen
from message_batches.observability.metrics import (
    MAX_MODELS,
    METRICS,
    OTHER,
    TOKEN_KINDS,
    Counter,
    Gauge,
    Timing,
    count_results,
)
from message_batches.observability.prometheus import serve_metrics
from message_batches.result_models import ModelUsage, Summary
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.search_attributes import NEEDS_ATTENTION, OPEN_STATUSES
from tests.harness.metrics import RULES, exported
from tests.harness.processes import refused_worker
from tests.harness.project import ROOT
from tests.processes.observability.conftest import KEY, PROMPT, WRONG, Seen

DASHBOARD = json.loads((ROOT / "deploy/grafana/message-batches.json").read_text())
PROMETHEUS_OWN = {"up"}
LABELS = {
    "namespace",
    "task_queue",
    "workflow_type",
    "activity_type",
    "status",
    "cause",
    "outcome",
    "model",
    "stop_reason",
    "kind",
    "error",
} | {*("event", "result", "stage", "le")}


def metrics_in(expression: str) -> set[str]:
    """Return the names in a PromQL expression; raise ValueError if it is not valid."""
    found: set[str] = set()

    def look(part: Any) -> bool:
        if isinstance(part, promql_parser.VectorSelector) and part.name:
            found.add(part.name)
        return True

    promql_parser.walk(promql_parser.parse(expression), look)
    return found


def expressions_of_the_dashboard() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "5m")
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"].removeprefix("label_values(").rpartition(",")[0]


async def test_runs_are_counted_by_outcome_with_their_results(seen: Seen) -> None:
    page = seen.page

    assert page.value("message_batches_runs_ended_total", status="landed", outcome="partly") == 1
    assert page.value("message_batches_runs_ended_total", status="landed", outcome="succeeded") == 2
    assert page.value("message_batches_runs_ended_total", status="failed", outcome="SpendLimitReached") == 1
    assert page.value("message_batches_runs_ended_total", status="canceled", outcome="canceled") == 1
    assert page.value("message_batches_submitted_total") == 4
    assert page.value("message_batches_ended_total") == 3
    assert page.value("message_batches_requests_total", outcome="succeeded") == 3 + 4 + 5
    assert page.value("message_batches_requests_total", outcome="errored") == 1
    assert page.value("message_batches_tokens_total", kind="output") > 0
    assert page.value("message_batches_landed_bytes_total") > 1000
    assert page.value("message_batches_landing_seconds_count") == 3


async def test_errors_are_counted(seen: Seen) -> None:
    page = seen.page

    assert page.value("message_batches_lost_replies_total") == 3
    assert page.value("message_batches_reconciliations_total", result="found") == 1
    assert page.value("message_batches_reconciliations_total", result="absent") == 1
    assert page.value("message_batches_possibly_paid_twice_total") == 0
    assert (
        page.value("message_batches_failed_attempts_total", error="SpendLimitReached", activity_type="submitBatch") == 1
    )
    assert page.value("message_batches_failed_attempts_total", activity_type="retrieveResults") == 1


async def test_events_sent_to_webhooks_are_counted(seen: Seen) -> None:
    for event in ("batch.submitted", "batch.landed"):
        assert seen.page.value("message_batches_notifications_total", event=event, result="delivered") == 1


async def test_the_lateness_of_polls_is_measured_in_its_parts(seen: Seen) -> None:
    for stage in ("timer", "queue", "answer"):
        assert seen.page.value("message_batches_poll_lateness_seconds_count", stage=stage) >= 1
        assert seen.page.value("message_batches_poll_lateness_seconds_bucket", stage=stage, le="900") >= 1


async def test_open_runs_are_counted_by_status(seen: Seen) -> None:
    standing = {s.labels["status"]: s.value for s in seen.page.samples if s.name == "message_batches_open_runs"}

    assert set(standing) == set(OPEN_STATUSES)
    assert standing["undecided"] == 1
    assert standing["polling"] == 0


async def test_every_metric_is_on_the_page_with_its_type_and_its_help(seen: Seen) -> None:
    kinds = {Counter: "counter", Gauge: "gauge", Timing: "histogram"}

    for metric in METRICS:
        assert seen.page.types[exported(metric)] == kinds[type(metric)]
        assert f"# HELP {exported(metric)} {metric.help}\n" in seen.page.text
    ours = {name for name in seen.page.types if name.startswith("message_batches_")}
    assert ours == {exported(metric) for metric in METRICS}
    assert any(name.startswith("temporal_") for name in seen.page.types)


async def test_labels_are_few_and_hold_no_id_no_key_and_no_text_from_outside(seen: Seen) -> None:
    ours = [sample for sample in seen.page.samples if sample.name.startswith("message_batches_")]

    assert {label for sample in ours for label in sample.labels} <= LABELS
    values = {value for sample in ours for value in sample.labels.values()}
    forbidden = [KEY, PROMPT, WRONG["custom_id"], "msgbatch_", "req_", *seen.runs.values()]
    assert [(value, word) for value in values for word in forbidden if str(word) in value] == []


def test_few_models_are_labelled_separately_and_no_other_text_is() -> None:
    buffer = MetricBuffer(10_000)
    meter = Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter
    models = [*(f"model-{number}" for number in range(100)), "Nobody may read this\nprompt", "claude-sonnet-5"]

    count_results(meter, Summary(usage=tuple(ModelUsage(model=model, input=1) for model in models)), 1)

    labels = [u.attributes["model"] for u in buffer.retrieve_updates() if u.metric.name == "message_batches_tokens"]
    assert len(labels) == len(TOKEN_KINDS) * len(models)
    assert OTHER in labels
    assert "claude-sonnet-5" in labels, "made-up names take none of Claude's away"
    assert len(set(labels)) <= MAX_MODELS + 2
    assert not any("Nobody" in str(label) for label in labels)


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
async def test_an_alert_is_well_formed_and_names_metrics_that_are_exported(seen: Seen, rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["alert"].startswith("MessageBatches")
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "what_to_do"}
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
    assert metrics_in(rule["expr"])
    assert metrics_in(rule["expr"]) <= seen.page.names | PROMETHEUS_OWN
    named = set(re.findall(r"starter\.py ([a-z]+)", " ".join(rule["annotations"].values())))
    assert named <= {"list", "status", "resolve", "results", "resume", "setup", "notify"}


async def test_the_dashboard_names_metrics_that_are_exported(seen: Seen) -> None:
    named = {name for expression in expressions_of_the_dashboard() for name in metrics_in(expression)}

    assert len(named) > 15
    assert named <= seen.page.names | PROMETHEUS_OWN


@pytest.mark.parametrize("status", NEEDS_ATTENTION)
def test_a_status_that_needs_an_operator_is_on_the_dashboard_and_has_an_alert(status: str) -> None:
    (panel,) = (panel for panel in DASHBOARD["panels"] if panel["title"] == "Needs attention")
    alerts = [rule["alert"] for rule in RULES if f'message_batches_open_runs{{status="{status}"}}' in rule["expr"]]

    assert status in re.split(r'[|"]', panel["targets"][0]["expr"])
    assert alerts


def test_the_panels_of_the_dashboard_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("9464", "^--metrics .* '9464'$"),
        ("x:9464", "^--metrics .* x:9464: "),
    ],
)
async def test_an_invalid_address_is_refused(address: str, says: str) -> None:
    with pytest.raises(CannotListen, match=says):
        async with serve_metrics("http://127.0.0.1:1/metrics", address):
            pass


async def test_an_address_in_use_is_refused_at_the_start(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    taken = emulator.url.removeprefix("http://")

    status, said = await refused_worker(tmp_path, temporal.address, "--metrics", taken)

    assert status == 2
    assert all(word in said for word in ("--metrics", taken))
    assert len(said.splitlines()) == 1
