"""What `check` and `start` expect of new requests by earlier runs of the same template."""

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from tests.harness.command_line import QUICK, CommandLine, Ended
from tests.harness.requests import request
from tests.harness.stack import Stack

LIMIT = 256
FREE = {"input": 0, "output": 0, "cache_write_5m": 0, "cache_write_1h": 0, "cache_read": 0}
PRICES = {**FREE, "output": 1_000_000}
"""A dollar for each token of a reply, and nothing else: the cost is the number of tokens."""


@pytest.fixture
def starter(starter: CommandLine, live: Stack) -> CommandLine:
    """A command line with these prices, for the API of the emulator."""
    prices = starter.folder / "prices.json"
    prices.write_text(json.dumps({"claude-sonnet-5": {"batch": PRICES, "standard": PRICES}}))
    starter.environment = {
        **starter.environment,
        "MESSAGE_BATCHES_PRICES": str(prices),
        "ANTHROPIC_BASE_URL": live.emulator.url,
        "ANTHROPIC_API_KEY": "sk-ant-emulated-0001",
    }
    return starter


def asked(starter: CommandLine, text: str, limits: Sequence[int], system: str = "Answer in a sentence.") -> Path:
    """Write a file of requests with these limits, that no other test has."""
    given = [
        request(f"{text}-{number}", f"{text} {uuid4()}", max_tokens=limit, system=system)
        for number, limit in enumerate(limits)
    ]
    return starter.file(given, f"{text}.jsonl")


async def before(starter: CommandLine) -> None:
    """Land a run of three replies, two of them cut off at their limits: after 5 and 8 tokens."""
    landed = await starter("start", asked(starter, "before", [LIMIT, 5, 8]), "--wait", "--json", *QUICK)
    assert landed.code == 0, landed.err
    assert landed.json["output"]["summary"]["usage"][0]["requests"] == 3


def figures(ended: Ended) -> tuple[int, str | None, int]:
    assert ended.code == 0, ended.err
    estimate = ended.json["estimate"]
    return estimate["outputTokens"], estimate["expected"], estimate["pastRuns"]


async def test_earlier_runs_show_what_new_requests_will_cost(starter: CommandLine, live: Stack) -> None:
    await before(starter)
    first, *cut = [json.loads(line)["result"]["message"]["usage"]["output_tokens"] for line in landed_lines(live)]
    again, other = asked(starter, "after", [LIMIT] * 6), asked(starter, "other", [LIMIT] * 6, "Answer at length.")

    plain = await starter("check", again, "--json")
    counted = await starter("check", again, "--count", "--json")
    of_another = await starter("check", other, "--json")
    shown = await starter("check", again)
    started = await starter("start", again, "--json", *QUICK)

    # Six replies, of three that there were.
    expected = 6 * LIMIT, str(2 * (first + 5 + 8)), 1
    assert cut == [5, 8]
    assert [figures(each) for each in (plain, counted, started)] == [expected] * 3
    assert figures(of_another) == (6 * LIMIT, None, 0)
    assert f"about ${expected[1]}.00 if replies are as long as in an earlier run of the same template" in shown.said
    assert f"about ${expected[1]}.00 if" in started.said


def landed_lines(live: Stack) -> list[str]:
    (file,) = live.store_folder.glob("results/*/*/*.jsonl")
    return file.read_text().splitlines()


@pytest.mark.slow
async def test_a_store_that_shows_nothing_fails_no_check(starter: CommandLine, live: Stack) -> None:
    await before(starter)
    (published,) = live.store_folder.glob("results/*/*/*.json")
    published.write_text("{")
    file = asked(starter, "after", [LIMIT])

    broken = await starter("check", file, "--json")
    started = await starter("start", file, "--json", *QUICK)
    stores = ["s3://bucket/nobody", "nothing://at-all", (starter.folder / "none").as_uri(), file.as_uri()]
    without = []
    for store in stores:
        starter.environment = {
            **starter.environment,
            "MESSAGE_BATCHES_STORE": store,
            "AWS_ENDPOINT_URL": "http://[::1]:9",
        }
        without.append(await starter("check", file, "--json"))

    assert [figures(each) for each in (broken, started, *without)] == [(LIMIT, None, 0)] * 6
    assert not (starter.folder / "none").exists()
