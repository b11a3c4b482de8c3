"""A worker's page of metrics, parsed as Prometheus does, and the alerts on it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import yaml

from message_batches.observability.metrics import Counter, Gauge, Timing
from tests.harness.project import ROOT

_ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
RULES = [rule for group in _ALERTS["groups"] for rule in group["rules"]]

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """One line."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Page:
    """All lines, and the declared types."""

    samples: list[Sample]
    types: Mapping[str, str]
    text: str

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of all lines of a name that have these labels."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        there = [dict(sample.labels) for sample in self.samples if sample.name == name]
        assert found, f"{name} has none with {labels}: {there}"
        return sum(found)


async def page_at(url: str) -> Page:
    """Read the current page."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(url)).raise_for_status().text
    samples, types = [], {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        elif line and not line.startswith("#"):
            match = _SAMPLE.match(line)
            assert match, f"no line of a page of metrics: {line}"
            samples.append(Sample(match["name"], dict(_LABEL.findall(match["labels"] or "")), float(match["value"])))
    return Page(samples, types, text)


def exported(metric: Counter | Gauge | Timing) -> str:
    """Return the name of one of our metrics on the page."""
    return metric.name + {Counter: "_total", Gauge: "", Timing: "_seconds"}[type(metric)]
