"""The emulator's command line, and its dependencies."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from datetime import timedelta

import httpx
import pytest

from message_batches.emulator import EmulatorOptions, UndocumentedBehaviour
from message_batches.emulator.__main__ import read_options
from message_batches.emulator.options import parse_duration
from tests.harness.emulated_api import BATCHES, HEADERS, body
from tests.harness.emulator_process import COMMAND, running_emulator


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_and_ends_on_a_signal(number: signal.Signals) -> None:
    with running_emulator("--fault", "slow:operation=list,seconds=60") as (process, url):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        with httpx.Client(base_url=url, headers=HEADERS) as client:
            assert client.post(BATCHES, json=body()).status_code == 200
            # A call under way does not delay it.
            with pytest.raises(httpx.ReadTimeout):
                client.get(BATCHES, timeout=0.2)
            process.send_signal(number)
            rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "expected_error"),
    [
        (["--port", "x"], "argument --port: invalid int value: 'x'"),
        (["--processing-time", "10"], "argument --processing-time: '10' is not a duration such as 30s"),
        (["--fault", "nope"], "argument --fault: fault is one of "),
        (["--fault", "429:now"], "argument --fault: 'now' in '429:now' is not of the form name=value"),
        (["--fault", "429:times=x"], "argument --fault: times is a whole number of at least 0"),
        (["--time-scale", "0"], "time_scale is above 0"),
        (["--ends-after-polls", "0"], "ends_after_polls is at least 1"),
        (["--cancel-twice", "500"], "argument --cancel-twice: invalid choice: 500"),
        (["--model", ":x=1"], "argument --model: a model is ID, or ID:name=value,..."),
        (
            ["--model", "my-model:colour=red"],
            "argument --model: 'colour=red' of model my-model is not name=value, with",
        ),
        (["--model", "my-model:max_tokens=0"], "argument --model: max_tokens is a whole number of at least 1"),
        (["--model", "my-model:batches=no"], "argument --model: batches is true or false"),
        (["--model", "my-model:lifecycle=old"], "argument --model: lifecycle is one of active, deprecated, retired"),
        (["--model", "my-model:retires_at=soon"], "argument --model: retires_at is a day such as 2026-12-24"),
        (["--fault", '{"fault": "error"'], 'argument --fault: \'{"fault": "error"\' is not valid JSON: '),
        (["--fault", "error:status=99"], "argument --fault: status is between 400 and 599"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_argument_gets_one_line(
    arguments: list[str], expected_error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        read_options(arguments)
    shown = capsys.readouterr().err
    assert exited.value.code == 2
    assert shown.startswith(f"error: {expected_error}")
    assert shown.count("\n") == 1


def test_a_port_that_is_taken_gets_one_line() -> None:
    with running_emulator() as (_, url):
        port = url.rpartition(":")[2]
        ended = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert ended.stderr.count("\n") == 1


def test_arguments_become_options() -> None:
    assert read_options([]) == EmulatorOptions(port=8080)
    given = (
        "--port 0 --host 127.0.0.2 --public-url http://x --time-scale 60 --processing-time 1m --jitter 0.2 --seed 7 "
        "--cancel-time 0.2s --ends-after-polls 4 --live-counts --reply-bytes 4000 --error-rate 0.1 --api-key a "
        "--api-key b=wrkspc_x --model my-model --model claude-opus-5:max_tokens=7 --params-refused 200 "
        "--requests-per-minute 50 --queue-limit 100 --max-bytes 1000 --max-requests 10 "
        "--fault 429:times=1 --fault cut:operation=results,at=10,clean=true --cancel-after-ended 200"
    )
    assert read_options(given.split()) == EmulatorOptions(
        port=0,
        host="127.0.0.2",
        public_url="http://x",
        time_scale=60,
        processing_time=timedelta(minutes=1),
        jitter=0.2,
        seed=7,
        cancel_time=timedelta(seconds=0.2),
        ends_after_polls=4,
        live_counts=True,
        reply_bytes=4000,
        error_rate=0.1,
        api_keys=("a", "b=wrkspc_x"),
        models=("my-model", "claude-opus-5:max_tokens=7"),
        requests_per_minute=50,
        queue_limit=100,
        max_bytes=1000,
        max_requests=10,
        faults=("429:times=1", "cut:operation=results,at=10,clean=true"),
        undocumented=UndocumentedBehaviour(cancel_after_ended=200, params_refused=200),
    )


def test_durations() -> None:
    read = {text: parse_duration(text).total_seconds() for text in ("30s", "1m", "0.2s", "24h", "29d", "250ms", "0s")}
    assert list(read.values()) == [30, 60, 0.2, 86400, 29 * 86400, 0.25, 0]
    for wrong in ("", "s", "1", "1 s", "-1s", "1w", "1m30s"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(wrong)


def test_it_needs_only_aiohttp() -> None:
    code = (
        "import sys, message_batches.emulator.__main__\n"
        "print(*(name for name in sys.modules if '.' not in name), sep='\\n')\n"
        "print(*(name for name in sys.modules if name.startswith('message_batches.')), sep='\\n')"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(shown.stdout.split())
    assert not loaded & {"temporalio", "httpx", "pydantic", "yaml", "anthropic", "obstore", "typer", "rich"}
    ours = {name for name in loaded if name.startswith("message_batches.")}
    also = {
        f"message_batches.{name}"
        for name in ("claude_models", "content_rules", "prompt_rules", "listener", "errors", "contract")
    }
    assert all(name.startswith("message_batches.emulator") for name in ours - also)
