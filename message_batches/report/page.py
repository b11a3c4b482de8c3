"""The report as one page: HTML with inline CSS and SVG, without a script, that asks nothing from anywhere."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from html import escape
from importlib import resources
from itertools import pairwise
from typing import Any

from message_batches.error_causes import ErrorCause, cause_of
from message_batches.formatting import format_duration, format_money, format_size, format_time, spell_out_controls
from message_batches.prices import Rates
from message_batches.report.charts import stacked
from message_batches.report.data import Report, Row
from message_batches.result_models import ErrorGroup, ModelUsage, StopReason

MAX_BYTES = 200_000
_TEXT_BYTES = (4000, 2000, 1000, 700, 500, 350, 250, 180, 120, 60)
"""The lengths to which the texts of the rows are cut, the first with which the page is small enough."""

MAX_MODELS = 10
KINDS = {
    "input": "input",
    "output": "output",
    "cache_write_5m": "cache write, 5 min",
    "cache_write_1h": "cache write, 1 h",
    "cache_read": "cache read",
    "web_searches": "web searches",
}
"""The kinds of usage that cost something, with their names."""

OUTCOMES = {
    "usable": "usable",
    "unusable": "not usable",
    "succeeded": "succeeded",
    "errored": "errored",
    "expired": "expired",
    "canceled": "canceled",
}


@dataclass(frozen=True)
class Commands:
    """The command lines that the page names.

    Attributes:
        results: writes the results to a file.
        again: writes the requests that have no reply, and are worth sending again, to a file; of a job, sends them.
        invalid: the file in which the same command puts the requests that are to be corrected first.
        start: sends the requests of that file.
        unusable: writes the requests whose reply is not usable to a file; of a job, sends those that were cut off.
    """

    results: str
    again: str
    invalid: str
    start: str
    unusable: str


@dataclass(frozen=True)
class ModelCost:
    """The usage and the cost of a model; `amounts` and the parts of its bar are empty where only the sum is known."""

    model: str
    requests: int
    counts: dict[str, int]
    amount: Decimal | None
    amounts: dict[str, Decimal]
    bar: tuple[Any, ...]
    remarks: tuple[str, ...]


def page(report: Report, commands: Commands, now: datetime) -> bytes:
    """Return the page, in UTF-8 and under 200 KB: the texts of its rows are cut as far as that takes."""
    template, css = _template(), _part("page.css")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    values = {**_values(report), "commands": commands, "now": now, "css": css, "policy": policy}
    rows = report.figures.rows
    sizes = [_size(row.text) for row in rows]

    def render(most: int) -> bytes:
        shown = [_row(row, most) for row in rows]
        return bytes(template.render(values, rows=shown).encode("utf-8", "replace"))

    html = render(0)
    for most in _TEXT_BYTES:
        if len(html) + sum(min(size, most) for size in sizes) < MAX_BYTES and len(longer := render(most)) < MAX_BYTES:
            return longer
    return html


def clip(text: str, most: int) -> str:
    """Return a text, its unprintable characters spelled out, cut so that HTML has at most so many bytes of it."""
    return _clip(text, most)[0]


def _clip(text: str, most: int) -> tuple[str, bool]:
    """Return a text as `clip` does, and whether that is all of it."""
    if len(text) <= most and _size(text) <= most:
        return spell_out_controls(text), True
    taken = 0
    shown: list[str] = []
    for each in text:
        visible = spell_out_controls(each)
        taken += _size(visible)
        if taken > most:
            break
        shown.append(visible)
    return f"{''.join(shown)}…", False


def _size(text: str) -> int:
    """Return the bytes of a text in the page."""
    return len(escape(spell_out_controls(text)).encode("utf-8", "replace"))


@cache
def _template() -> Any:
    # Imported where it is used: no other command needs it.
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return spell_out_controls(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=DictLoader({"page": _part("page.html.j2")}),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clip": clip,
        "money": format_money,
        "size": format_size,
        "time": format_time,
        "duration": format_duration,
        "number": lambda count: f"{count:,}",
        "place": lambda place: f"{place:.2f}%",
        "css": Markup,  # Our own file, in which nothing is filled in.
    }
    return environment.get_template("page")


def _part(name: str) -> str:
    return resources.files("message_batches.report").joinpath(name).read_text("utf-8")


def percent(part: int | Decimal, whole: int | Decimal) -> str:
    """Format a share: `0 %` and `100 %` only where it is nothing, or all."""
    if not whole:
        return "none"
    share = 100 * float(part) / float(whole)
    if 0 < share < 0.1:
        return "<0.1 %"
    if 99.9 < share < 100:
        return ">99.9 %"
    return f"{share:.1f}".removesuffix(".0") + " %"


def _values(report: Report) -> dict[str, Any]:
    landed, moments = report.landed, report.moments
    summary, counts, cost = landed.summary, landed.summary.counts, landed.cost
    known = summary.usable is not None
    outcomes = {
        "usable": summary.usable or 0,
        "unusable": counts.succeeded - (summary.usable or 0) if known else 0,
        "succeeded": 0 if known else counts.succeeded,
        "errored": counts.errored,
        "expired": counts.expired,
        "canceled": counts.canceled,
    }
    read, written = (_sum(summary.usage, "cache_read"), _sum(summary.usage, "cache_write_5m", "cache_write_1h"))
    return {
        "report": report,
        "landed": landed,
        "output": report.output,
        "job": report.job,
        "twice": getattr(report.job or report.output, "possibly_paid_twice", ()),
        "summary": summary,
        "figures": report.figures,
        "total": landed.results_file.lines,
        "outcomes": {name: count for name, count in outcomes.items() if count},
        "outcome_bar": stacked(outcomes),
        "names": OUTCOMES,
        "cost": cost,
        "saving": cost.standard_amount - cost.amount if cost and cost.amount and cost.standard_amount else None,
        "models": _models(report)[:MAX_MODELS],
        "more_models": max(0, len(_models(report)) - MAX_MODELS),
        "kinds": KINDS,
        "read": read,
        "prompt": read + written + _sum(summary.usage, "input"),
        "histogram": report.figures.lengths.histogram(report.figures.limits),
        "limits": sorted((report.figures.limits or {}).items(), key=lambda item: (-item[1], item[0])),
        "moments": _moments(report),
        "time_bar": moments.bar,
        "took": moments.landed - moments.submitted if moments.landed and moments.submitted else None,
        "errors": [(group, _advice(group)) for group in summary.errors],
        "causes": {_advice(group) for group in summary.errors},
        "unusable": [reason for reason in summary.stop_reasons if not reason.usable],
        "reasons": _reasons(summary.stop_reasons),
        "link": report.link if report.link and report.link.startswith(("https://", "http://")) else None,
        "percent": percent,
    }


def _sum(usage: Iterable[ModelUsage], *kinds: str) -> int:
    return sum(getattr(part, kind) for part in usage for kind in kinds)


def _models(report: Report) -> list[ModelCost]:
    """Return the models, the dearest first."""
    amounts = report.landed.cost.by_model if report.landed.cost else {}
    parts: dict[str, list[ModelUsage]] = {}
    for part in report.landed.summary.usage:
        parts.setdefault(part.model, []).append(part)
    found = []
    for model, usage in parts.items():
        amount = amounts.get(model)
        split = report.kinds.get(model)
        by_kind = _priced(split) if split else {}
        sizes = {kind: float(each) for kind, each in by_kind.items()} or {"all": float(amount or 0)}
        remarks = []
        if "us" in {part.inference_geo for part in usage}:
            remarks.append("inference in the US")
        if any(part.long_context for part in usage):
            remarks.append("long context")
        found.append(
            ModelCost(
                model=model,
                requests=_sum(usage, "requests"),
                counts={kind: count for kind in KINDS if (count := _sum(usage, kind))},
                amount=amount,
                amounts=by_kind,
                bar=stacked(sizes) if amount else (),
                remarks=tuple(remarks),
            )
        )
    return sorted(found, key=lambda each: (each.amount is None, -(each.amount or 0), each.model))


def _priced(split: Rates) -> dict[str, Decimal]:
    return {kind: amount for kind, amount in split._asdict().items() if amount}


def _moments(report: Report) -> list[tuple[str, datetime, str]]:
    """Return each known moment with its name and the time since the one before it."""
    named = report.moments.named
    since = ["", *(format_duration(after - before) for before, after in pairwise(named.values()))]
    return [(name, moment, passed) for (name, moment), passed in zip(named.items(), since, strict=False)]


def _advice(group: ErrorGroup) -> str:
    """Return the kind of advice for a group of errors."""
    return {ErrorCause.REQUEST: "correct", ErrorCause.MONEY: "money", ErrorCause.ACCESS: "access"}.get(
        cause_of(group.type, group.message), "again"
    )


def _reasons(reasons: Iterable[StopReason]) -> list[tuple[str, int, bool]]:
    return [
        (f"{each.reason} ({each.category})" if each.category else each.reason, each.count, each.usable)
        for each in reasons
    ]


@dataclass(frozen=True)
class ShownRow:
    """A row with its text as far as the page has room for it."""

    row: Row
    text: str
    preview: str
    note: str


def _row(row: Row, most: int) -> ShownRow:
    text, whole = _clip(row.text, most)
    preview, _ = _clip(" ".join(row.text[:200].split()), min(most, 80))
    note = "" if whole and row.whole else f"; cut, the whole line has {format_size(row.size)}"
    return ShownRow(row, text, preview, note)
