"""The contract as JSON Schema: a caller in any language validates with it, or generates its types from it.

`python -m message_batches.contract_schemas FOLDER` writes a file for each of `SCHEMAS`; `make schemas` those of
`arazzo/schemas`.

They describe the JSON as it is documented. A worker also reads a few other spellings, such as a number as text; fields
that a schema does not have are allowed, as an older worker ignores a newer caller's.
"""

import argparse
import inspect
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from message_batches import job_models, models
from message_batches.api import models as api_models
from message_batches.webhooks.events import Event, EventData

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_AMOUNT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_RESULT_TYPES = ("succeeded", "errored", "canceled", "expired")


class _PassedThrough(BaseModel):
    """Part of the API's JSON that a run passes on as it is: the models leave it unread."""

    model_config = ConfigDict(frozen=True)


class BatchRequest(_PassedThrough):
    """A request of the batch.

    Attributes:
        custom_id: unique among the requests; names the request in the results.
        params: the body of a Messages call.
    """

    model_config = ConfigDict(extra="forbid")

    custom_id: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    params: dict[str, Any]


class ContentBlock(_PassedThrough):
    """A part of a reply; other types than `text` have fields of their own.

    Attributes:
        text: of the blocks of type `text`.
    """

    type: str
    text: str = ""


class ReplyMessage(_PassedThrough):
    """A reply of the model, as far as it is described here.

    Attributes:
        model: that has written it.
        stop_reason: why it ended: `end_turn`, `max_tokens`, `refusal`, ...
    """

    content: list[ContentBlock]
    model: str = ""
    stop_reason: str | None = None


class ApiError(_PassedThrough):
    """Why a request has failed."""

    type: str
    message: str


class ErrorReply(_PassedThrough):
    """The API's error around its cause."""

    error: ApiError


class SucceededResult(_PassedThrough):
    """A request with a reply."""

    type: Literal["succeeded"]
    message: ReplyMessage


class ErroredResult(_PassedThrough):
    """A request that has failed."""

    type: Literal["errored"]
    error: ErrorReply


class UnansweredResult(_PassedThrough):
    """A request that was not processed: its batch was canceled, or has expired."""

    type: Literal["canceled", "expired"]


class OtherResult(_PassedThrough):
    """A type of result that the API did not have when this was written; it counts as errored."""

    type: str = Field(json_schema_extra={"not": {"enum": list(_RESULT_TYPES)}})


class ResultLine(_PassedThrough):
    """A line of a results file, as the API has written it."""

    custom_id: str
    result: SucceededResult | ErroredResult | UnansweredResult | OtherResult


class PresentCounts(api_models.RequestCounts):
    """Requests by state; a state without any is left out."""


_REQUESTS: Any = (list[BatchRequest] | None, None)

# The models leave these fields unread.
BatchInput = create_model("BatchInput", __base__=models.BatchInput, requests=_REQUESTS)
BatchOutput = create_model("BatchOutput", __base__=models.BatchOutput, results=(list[ResultLine] | None, ...))
JobInput = create_model("JobInput", __base__=job_models.JobInput, requests=_REQUESTS)
MessageBatch = create_model("MessageBatch", __base__=api_models.MessageBatch, request_counts=(PresentCounts, ...))

SCHEMAS: Mapping[str, tuple[type[BaseModel], JsonSchemaMode]] = {
    "batch-input": (BatchInput, "validation"),
    "batch-output": (BatchOutput, "serialization"),
    "progress": (models.Progress, "serialization"),
    "resolution": (models.Resolution, "validation"),
    # Written without nulls and zero counts, so that the fields with defaults may be absent.
    "message-batch": (MessageBatch, "validation"),
    "job-input": (JobInput, "validation"),
    "job-output": (job_models.JobOutput, "serialization"),
    "job-progress": (job_models.JobProgress, "serialization"),
    "shard-record": (job_models.ShardRecord, "serialization"),
    "failure-details": (models.FailureDetails, "serialization"),
    "event": (Event, "serialization"),
    "batch-request": (BatchRequest, "validation"),
    "result-line": (ResultLine, "serialization"),
}
"""The schemas by the names of their files: a model, as it is read (`validation`) or written (`serialization`)."""


def contract_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of that name in `SCHEMAS`; `KeyError` if there is none."""
    model, mode = SCHEMAS[name]
    return {"$schema": _DIALECT, **model.model_json_schema(mode=mode, schema_generator=_Generator)}


def write_schemas(folder: Path) -> list[Path]:
    """Write all schemas into a folder, which is made if there is none; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in SCHEMAS:
        written.append(folder / f"{name}.schema.json")
        text = json.dumps(contract_schema(name), indent=2, ensure_ascii=False)
        written[-1].write_text(f"{text}\n", encoding="utf-8")
    return written


class _Generator(GenerateJsonSchema):
    """Writes durations as seconds, amounts of money as decimals, and what docstrings say of each field."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        # What is written has all its fields.
        return self.mode == "serialization" or super().field_is_required(field, total)

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        written: JsonSchemaValue = {"type": "number"}
        if (above := schema.get("gt")) is not None:
            written["exclusiveMinimum"] = above.total_seconds()
        if (most := schema.get("le")) is not None:
            written["maximum"] = most.total_seconds()
        return written

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        text = {"type": "string", "pattern": _AMOUNT}
        if self.mode == "serialization":
            return text
        number = self.float_schema(core_schema.float_schema())
        self.update_with_validations(number, schema, self.ValidationsMapping.numeric)
        return {"anyOf": [number, text]}

    def encode_default(self, dft: Any) -> Any:
        return dft.total_seconds() if isinstance(dft, timedelta) else super().encode_default(dft)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if self.mode == "serialization" or schema.get("default", ...) is None:
            return inner
        return super().default_schema(schema)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        model, written = schema["cls"], super().model_schema(schema)
        # A webhook's body leaves out what does not apply.
        if issubclass(model, _PassedThrough) or model is EventData:
            written["required"] = [
                field.alias or name for name, field in model.model_fields.items() if field.is_required()
            ]
        told = _docstring(model)
        written["description"] = told[""]
        for name, field in model.model_fields.items():
            if name in told:
                written["properties"][field.alias or name]["description"] = told[name]
        return written


def _docstring(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of a model and its bases say of each field; under "" what they say of the model."""
    told: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each.__doc__ and issubclass(each, BaseModel) and each is not BaseModel:
            told[""], _, attributes = inspect.cleandoc(each.__doc__).partition("\n\nAttributes:\n")
            for names, text in re.findall(r"^    ([\w, ]+): (.*(?:\n {8}.*)*)", attributes, re.M):
                told |= dict.fromkeys(names.split(", "), text[:1].upper() + re.sub(r"\s+", " ", text[1:]))
    aliases = {name: field.alias or name for name, field in model.model_fields.items()}
    return {name: _in_json(text, aliases) for name, text in told.items()}


def _in_json(text: str, aliases: Mapping[str, str]) -> str:
    """Return a docstring's text with the words of JSON in place of Python's."""
    text = re.sub(r"\bNone\b", "null", text)
    return re.sub(r"(?<=`)(\w+)(?=`)", lambda name: aliases.get(name[1], name[1]), text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the contract as JSON Schema, one file for each model.")
    parser.add_argument("folder", type=Path, help="where the files are put, such as arazzo/schemas")
    for path in write_schemas(parser.parse_args().folder):
        print(path)
