"""Limits on the cost of requests: whoever starts a run, nothing is sent above them."""

import json
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from message_batches.contract import WORKFLOW_TYPE
from message_batches.emulator import Emulator
from message_batches.models import BatchOutput
from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import QUICK, command_line
from tests.harness.requests import fresh, requests
from tests.harness.stack import Stack, failure_of, running_stack


async def test_a_start_above_the_limit_starts_no_run_and_sends_nothing(
    temporal: DevServer, live: Stack, tmp_path: Path
) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    file = starter.file(fresh())

    refused = await starter("start", file, "--max-cost", "0.001", "--wait", "--json", *QUICK)

    assert refused.code == 2
    error = refused.json["error"]
    assert (error["type"], error["limit"]) == ("CostLimitExceeded", "0.001")
    assert Decimal("0.0038") < Decimal(error["estimate"]) < Decimal("0.005")
    assert [run async for run in live.client.list_workflows(f"TaskQueue = '{live.task_queue}'")] == []
    assert live.operations(besides=()) == []

    # The limit is no part of what is sent: the same requests are the same run, under any.
    landed = await starter("start", file, "--max-cost", "0.005", "--wait", "--json", *QUICK)
    again = await starter("start", file, "--max-cost", "0.001", "--wait", "--json", *QUICK)

    assert (landed.code, again.code) == (0, 0), (landed.err, again.err)
    assert landed.json["workflowId"] == again.json["workflowId"]
    assert Decimal(landed.json["output"]["cost"]["amount"]) < Decimal(error["estimate"])
    assert live.operations().count("create") == 1


@pytest.mark.parametrize("limit", [0.001, "0.001"])
async def test_a_plain_input_with_a_limit_ends_in_a_typed_failure_and_sends_nothing(
    live: Stack, limit: float | str
) -> None:
    run = await live.client.start_workflow(
        WORKFLOW_TYPE, {"requests": fresh(), "maxCost": limit}, id=f"run-{uuid4()}", task_queue=live.task_queue
    )

    failure = await failure_of(run)

    assert (failure.type, failure.non_retryable) == ("CostLimitExceeded", True)
    assert "$0.001" in failure.message
    assert "$0.00" in failure.message.replace("$0.001", "")
    details = failure.details[0]
    assert details["limit"] == "0.001"
    assert Decimal("0.0038") < Decimal(details["estimate"]) < Decimal("0.005")
    assert live.operations(besides=()) == []


async def test_requests_without_a_price_are_refused_under_a_limit_alone(live: Stack) -> None:
    given = fresh(2)
    given[1]["params"]["model"] = "claude-does-not-exist-9"

    failure = await failure_of(await live.start(given, max_cost=Decimal(1000)))
    assert failure.type == "CostLimitExceeded"
    assert "claude-does-not-exist-9" in failure.message
    assert (failure.details[0]["estimate"], failure.details[0]["limit"]) == (None, "1000")
    assert live.operations(besides=()) == []

    output = await live.run(given)
    assert output.summary.counts.errored == 1


async def test_the_workers_limit_holds_for_whoever_starts_a_run_but_not_for_an_attach(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    store_url = (tmp_path / "store").as_uri()
    async with running_stack(temporal.client, emulator, store_url, max_cost=Decimal("0.001")) as bounded:
        failure = await failure_of(await bounded.start(fresh(), max_cost=Decimal(25)))
        assert failure.type == "CostLimitExceeded"
        assert "MESSAGE_BATCHES_MAX_COST" in failure.message
        assert failure.details[0]["limit"] == "0.001"
        assert bounded.operations(besides=()) == []

        batch_id = await bounded.post_by_a_stranger(requests(5))
        attached = await bounded.run(requests(5), batch_id=batch_id, max_cost=Decimal("0.0001"))

    assert attached.verified
    assert attached.cost is not None
    assert attached.cost.amount


@pytest.mark.slow
async def test_a_run_reset_to_before_its_check_does_not_lose_the_batch_that_it_had_sent(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    store_url = (tmp_path / "store").as_uri()
    async with running_stack(temporal.client, emulator, store_url) as unbounded:
        queue = unbounded.task_queue
        starter = command_line(tmp_path / "user", temporal, store_url, queue)
        file = starter.file(fresh())
        first = (await starter("start", file, "--wait", "--json", *QUICK)).json
    async with running_stack(
        temporal.client, emulator, store_url, max_cost=Decimal("0.0001"), task_queue=queue
    ) as bounded:
        run = WorkflowExecution(workflow_id=first["workflowId"])
        await temporal.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=temporal.client.namespace,
                workflow_execution=run,
                workflow_task_finish_event_id=4,
                request_id=f"reset-{run.workflow_id}",
                reason="a test",
            )
        )
        failure = await failure_of(temporal.client.get_workflow_handle(run.workflow_id, result_type=BatchOutput))
        again = (await starter("start", file, "--wait", "--json", *QUICK)).json

        assert (failure.type, "was sent" in failure.message) == ("CostLimitExceeded", False)
        assert again["batchId"] == first["batchId"]
        assert bounded.operations().count("create") == 1


async def test_an_attached_run_and_one_of_large_results_have_a_cost(live: Stack) -> None:
    batch_id = await live.post_by_a_stranger(requests(5))
    attached = await live.run(batch_id=batch_id)
    large = await live.run(fresh(600))

    for output in (attached, large):
        assert output.cost is not None
        assert output.cost.amount == output.cost.by_model["claude-sonnet-5"]
        assert output.cost.standard_amount == 2 * output.cost.amount > 0
    assert (attached.verified, large.results) == (False, None)


async def test_the_estimate_can_be_scaled_by_what_the_api_counts(
    temporal: DevServer, live: Stack, tmp_path: Path
) -> None:
    """The emulator counts four characters a token, and so less than the estimate."""
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    starter.environment = {
        **starter.environment,
        "ANTHROPIC_BASE_URL": live.emulator.url,
        "ANTHROPIC_API_KEY": "sk-ant-emulated-0001",
    }
    text = "Please tell me in your own words how this came about, and what followed. " * 30
    given = requests(50, text)
    given[0]["params"]["messages"] = []
    file = starter.file(given)

    plain, counted = await starter("check", file, "--json"), await starter("check", file, "--count", "--json")

    assert (plain.code, counted.code) == (0, 0), counted.err
    before, after = plain.json["estimate"], counted.json["estimate"]
    # Four more of each message, and one that has none.
    expected = sum(4 + -(-len(item["params"]["messages"][0]["content"]) // 4) for item in given[1:])
    assert after["inputTokens"] == pytest.approx(expected, rel=0.01) != before["inputTokens"]
    assert before["outputTokens"] == after["outputTokens"] == 50 * 256
    assert live.operations() == ["count_tokens"] * 20


async def test_a_count_that_the_api_refuses_says_why(temporal: DevServer, live: Stack, tmp_path: Path) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    starter.environment = {**starter.environment, "ANTHROPIC_BASE_URL": live.emulator.url}
    unknown = [{**each, "params": {**each["params"], "model": "claude-does-not-exist-9"}} for each in fresh()]

    without_key = await starter("check", starter.file(fresh()), "--count", "--json")
    starter.environment = {**starter.environment, "ANTHROPIC_API_KEY": "sk-ant-emulated-0001"}
    refused = await starter("check", starter.file(unknown), "--count", "--json")

    assert (without_key.code, without_key.json["error"]["type"]) == (2, "UnknownKey")
    assert refused.code == 2, json.dumps(refused.json)
    assert "claude-does-not-exist-9" in refused.json["error"]["message"]
