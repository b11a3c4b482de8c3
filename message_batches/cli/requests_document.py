"""The document of a checked file of requests, as `check --json` prints it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Self

from message_batches.jobs.files import JobRequests
from message_batches.result_models import CostEstimate
from message_batches.serialization import ContractModel


class RequestsWarning(ContractModel):
    """Requests that will come back errored for one reason, or may, if it is not certain."""

    message: str
    count: int
    custom_ids: tuple[str, ...]
    places: tuple[str, ...]
    certain: bool


class ModelProblem(StrEnum):
    """The problem of a model, by the API's own description."""

    NOT_FOUND = "notFound"
    NO_BATCHES = "noBatches"
    RETIRED = "retired"
    RETIRES_SOON = "retiresSoon"
    TOO_MANY_TOKENS = "tooManyTokens"
    NOT_ASKED = "notAsked"


class ModelFinding(ContractModel):
    """A problem of a model, and the number of requests that name it."""

    model: str
    problem: ModelProblem
    message: str
    count: int


class RequestsDocument(ContractModel):
    """The content of files of requests; `model_findings` is null where the API was not asked.

    Attributes:
        batches: the number of batches that take them; a job sends several.
    """

    count: int
    batches: int
    body_bytes: int
    sha256: str
    models: Mapping[str, int]
    max_tokens: int
    estimate: CostEstimate | None
    warnings: tuple[RequestsWarning, ...]
    model_findings: tuple[ModelFinding, ...] | None = None

    @classmethod
    def of(cls, requests: JobRequests, findings: Sequence[ModelFinding] | None = None) -> Self:
        """Convert checked requests, and what the API says of their models."""
        return cls(
            model_findings=None if findings is None else tuple(findings),
            count=requests.count,
            batches=len(requests.shards),
            body_bytes=requests.body_bytes,
            sha256=requests.sha256,
            models=requests.models,
            max_tokens=requests.max_tokens,
            estimate=requests.estimate,
            warnings=tuple(
                RequestsWarning(
                    message=each.message,
                    count=each.count,
                    custom_ids=each.custom_ids,
                    places=each.places,
                    certain=each.certain,
                )
                for each in requests.warnings
            ),
        )
