"""The command that only reads the requests: `check`, with `--live` and `--count` what the API says of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from message_batches.api.models import ApiProfile, ModelInfo
from message_batches.cli import tables
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.requests_document import ModelFinding, ModelProblem, RequestsDocument
from message_batches.errors import MessageBatchesError, RequestRefused
from message_batches.formatting import escape_unprintable, plural
from message_batches.library.options import RunKeywords, of_run
from message_batches.requests.estimate import estimate_lines, input_tokens_of, sample, value_of
from message_batches.requests.params import LONG_OUTPUT, LONG_OUTPUT_BETA, unknown_model
from message_batches.requests.past_runs import with_past_runs
from message_batches.requests.reader import CheckedRequests
from message_batches.result_models import CostEstimate
from message_batches.runs.starter import StartOptions
from message_batches.settings import Settings

if TYPE_CHECKING:
    from message_batches.api.client import HttpBatchApi

RETIRES_SOON = timedelta(days=30)
COUNTED = 20
"""The number of requests whose tokens the API is asked for."""
MAX_ASKED = 50
"""The number of models that are asked for: a file that names more of them has other problems."""


async def check(
    context: CommandContext,
    files: Sequence[str],
    options: RunKeywords,
    *,
    live: bool = False,
    count: bool = False,
) -> CommandResult:
    """Read and check files of requests; nothing is sent.

    Args:
        context: of the command.
        files: their paths.
        options: of a run of these requests.
        live: ask the API for their models.
        count: ask the API for the tokens of a sample of them.
    """
    of_runs = of_run(context.settings, **options)
    async with context.runs.read(files, of_runs) as requests:
        findings = None
        if live:
            models = await _ask(context.settings, of_runs.profile, requests)
            findings = find_problems(requests, models, of_runs.profile, datetime.now(UTC))
            known = {unknown_model(name) for name, model in models.items() if model}
            requests = replace(requests, warnings=[each for each in requests.warnings if each.message not in known])
        if count:
            requests = replace(requests, estimate=await _counted(context.settings, of_runs, requests))
        requests = replace(requests, estimate=await _with_past_runs(context, of_runs, requests))
        shown = tables.checked(requests, requests.name, findings)
        return CommandResult(RequestsDocument.of(requests, findings), shown)


def find_problems(
    requests: CheckedRequests, models: dict[str, ModelInfo | None], profile: ApiProfile, now: datetime
) -> list[ModelFinding]:
    """Return what the API's own description of their models says against requests.

    Args:
        requests: from `read_requests()`.
        models: by their names in the requests; None for one that does not exist.
        profile: that they will be sent with.
        now: the time.
    """
    found = []
    for name, model in models.items():
        for problem, message in _problems(name, model, requests.largest.get(name), profile, now):
            found.append(ModelFinding(model=name[:200], problem=problem, message=message, count=requests.models[name]))
    if left := len(requests.models) - len(models):
        message = f"{plural(left, 'more model')} of the file {'was' if left == 1 else 'were'} not asked for"
        found.append(ModelFinding(model="", problem=ModelProblem.NOT_ASKED, message=message, count=left))
    return found


def _problems(
    name: str, model: ModelInfo | None, largest: tuple[int, str] | None, profile: ApiProfile, now: datetime
) -> list[tuple[ModelProblem, str]]:
    if model is None:
        shown = escape_unprintable(name[:80]) if name.strip() else repr(name[:80])
        return [(ModelProblem.NOT_FOUND, f"{shown} does not exist, or not for this key")]
    found = []
    if not model.takes_batches:
        found.append((ModelProblem.NO_BATCHES, f"{name} takes no batches"))
    if model.lifecycle == "retired":
        found.append((ModelProblem.RETIRED, f"{name} is retired"))
    elif model.retires_at and model.retires_at - now < RETIRES_SOON:
        verb = "retires" if model.retires_at > now else "was to be retired"
        found.append((ModelProblem.RETIRES_SOON, f"{name} {verb} on {model.retires_at:%Y-%m-%d}"))
    if largest and model.max_tokens and largest[0] > model.max_tokens:
        tokens, place = largest
        if LONG_OUTPUT_BETA not in profile.anthropic_beta or tokens > LONG_OUTPUT:
            message = f"{name} gives at most {model.max_tokens:,} tokens: `max_tokens` is {tokens:,} in {place}"
            found.append((ModelProblem.TOO_MANY_TOKENS, message))
    return found


async def _with_past_runs(
    context: CommandContext, options: StartOptions, requests: CheckedRequests
) -> CostEstimate | None:
    """Return the estimate, with what is expected by earlier runs where there is a store that shows some."""
    try:
        return await with_past_runs(requests, context.store, options.profile.api_key, options.prices)
    except MessageBatchesError:
        return requests.estimate  # No store that can be opened: a start says so.


async def _ask(settings: Settings, profile: ApiProfile, requests: CheckedRequests) -> dict[str, ModelInfo | None]:
    async with _api(settings) as api:
        return {name: await api.model(profile, name) for name in list(requests.models)[:MAX_ASKED]}


async def _counted(settings: Settings, options: StartOptions, requests: CheckedRequests) -> CostEstimate:
    """Return the estimate, scaled by what the API counts of some requests; those that it refuses are left out."""
    counted, estimated, refusal = 0, 0.0, None
    async with _api(settings) as api:
        for line in sample(requests.lines, requests.count, COUNTED):
            request = value_of(line)
            if not isinstance(request, dict):
                continue
            try:
                counted += await api.count_tokens(options.profile, request["params"])
                estimated += input_tokens_of(request, line)
            except RequestRefused as error:
                refusal = error
            except RecursionError:
                continue  # It is nested as deeply as can just be read.
    if refusal and not counted:
        raise refusal
    return estimate_lines(requests.lines, options.prices, counted / estimated if counted and estimated else 1.0)


@asynccontextmanager
async def _api(settings: Settings) -> "AsyncIterator[HttpBatchApi]":
    # Imported here: it takes longer to load than most commands run.
    from message_batches.api.client import HttpBatchApi, http_client

    async with http_client(settings.base_url, network=settings.network) as http:
        yield HttpBatchApi(http, settings.keys, settings.network)
