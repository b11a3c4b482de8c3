"""The inputs and results of a job's activities: ids, counters and references, never requests."""

from typing import Any

from pydantic import Field

from activities.models import BatchRef, Profile
from message_batches.job_models import Retries, ShardLimits
from message_batches.job_models import ShardState as ShardState
from message_batches.job_models import ShardStatus as ShardStatus
from message_batches.models import MaxCost
from message_batches.serialization import ContractModel


class PlanWaveInput(ContractModel):
    """A wave to be planned: the first from the requests or the base, a later one from what has failed so far.

    Attributes:
        job_id: the workflow id of the job.
        first_run_id: of the job's chain, which reads its requests file once.
        folder: that of the job in the store; None for the first wave, which finds it.
        wave: its number.
        max_cost: the most, in USD, that all waves may cost.
        void: of earlier waves the shards that the API has refused as they were: their requests are as if never sent.
        notify: the webhooks of the job's input.
    """

    job_id: str
    first_run_id: str | None = None
    profile: Profile
    store_id: str | None = None
    folder: str | None = None
    wave: int = 0
    requests: list[Any] | None = None
    requests_uri: str | None = None
    base: str | None = None
    limits: ShardLimits
    retries: Retries
    max_cost: MaxCost | None = None
    void: dict[int, list[int]] = Field(default_factory=dict)
    notify: tuple[str, ...] = ()


class PlannedWave(ContractModel):
    """A wave whose shards are in the store: planned now, or before; none where nothing is to be sent.

    Attributes:
        folder: the job's, from its workflow id and the content of its requests.
        shards: their number; `requests` that of all of them.
        planned_before: a wave that an earlier run of the job has planned, and may have sent.
        attempted_before: an earlier attempt may have planned it, and was lost: it is counted as planned now.
        search_attributes: those of ours that the namespace has.
        over_limit: why nothing of it is submitted any more that was not yet: that may cost more than the limit.
    """

    store_id: str
    folder: str
    shards: int
    requests: int
    planned_before: bool = False
    attempted_before: bool = False
    search_attributes: tuple[str, ...] = ()
    over_limit: str | None = None


class ReadShardsInput(ContractModel):
    """Shards of a wave whose state is asked for."""

    job_id: str
    profile: Profile
    store_id: str
    folder: str
    wave: int
    numbers: tuple[int, ...]


class StopShardsInput(ContractModel):
    """The runs of shards whose batches are to be canceled at the provider, so that what has finished is landed."""

    workflow_ids: tuple[str, ...]


class CancelShardsInput(ContractModel):
    """A job whose runs are canceled, those too that an earlier run of it has started.

    Attributes:
        first_run_id: of the job's chain, which reads its requests file once.
        folder: that of the job in the store; None while it is planned: then it is found by the requests.
    """

    job_id: str
    first_run_id: str | None = None
    profile: Profile
    store_id: str | None = None
    folder: str | None = None
    requests: list[Any] | None = None
    requests_uri: str | None = None


class LeftBatch(ContractModel):
    """A batch of a job that no run follows.

    Attributes:
        api_key: the name of the key that has sent it, where the job's is of another account.
    """

    batch_id: str
    api_key: str | None = None

    def for_calls_with(self, profile: Profile) -> BatchRef:
        """Return the batch for calls with the job's profile and the batch's key."""
        own = {"api_key": self.api_key} if self.api_key else {}
        return BatchRef(profile=profile.model_copy(update=own), batch_id=self.batch_id)


class MergeInput(ContractModel):
    """The waves of a job whose landed shards are merged."""

    profile: Profile
    store_id: str
    folder: str
    waves: int
