"""The interfaces of the example in TypeScript are written by hand, and match the models."""

import re

import pytest

from message_batches import contract, job_models, models, result_models
from message_batches.api import models as api_models
from tests.external.examples.parents import TYPESCRIPT

SOURCE = (TYPESCRIPT / "src" / "message-batches.ts").read_text(encoding="utf-8")
INTERFACES = dict(re.findall(r"^export interface (\w+) \{\n(.*?)^\}", SOURCE, re.M | re.S))
OF_THE_API = {"BatchRequest", "ResultLine", "ContentBlock"}


@pytest.mark.parametrize("name", sorted(INTERFACES.keys() - OF_THE_API))
def test_an_interface_has_the_fields_of_its_model(name: str) -> None:
    model = next(getattr(home, name) for home in (models, job_models, result_models, api_models) if hasattr(home, name))
    fields = re.findall(r"^  (\w+)(\??):", INTERFACES[name], re.M)

    assert {field for field, _ in fields} == {info.alias or own for own, info in model.model_fields.items()}
    given = name in ("BatchInput", "JobInput", "ShardLimits", "Retries") or name.endswith("Schedule")
    assert {mark for _, mark in fields} == ({"?"} if given else {""})


def test_the_name_and_the_queue_are_those_of_the_service() -> None:
    constants = dict(re.findall(r"^export const (\w+) = '(.*)';", SOURCE, re.M))

    assert constants == {
        "WORKFLOW_TYPE": contract.WORKFLOW_TYPE,
        "JOB_WORKFLOW_TYPE": contract.JOB_WORKFLOW_TYPE,
        "TASK_QUEUE": contract.DEFAULT_TASK_QUEUE,
    }
