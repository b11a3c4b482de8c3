"""The inputs and results of the activities: ids, counters and references, never the requests of a large batch."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, SerializerFunctionWrapHandler, model_serializer

from message_batches.api.models import ApiProfile, MessageBatch
from message_batches.models import Anchor, Candidate, Manifest, MaxCost
from message_batches.result_models import ResultsFile
from message_batches.serialization import ContractModel, Seconds
from message_batches.storage.submission_records import BatchClaim, Submitter

Profile = Annotated[ApiProfile, Field(alias="account")]
"""The profile that an activity calls the API with; in a history it is `account`."""


class FailedCall(ContractModel):
    """The detail of an activity's failure where there was an answer: its status, and its id if it is the API's own.

    Attributes:
        batch_is_there: of a 404, whether only the results of the batch are missing.
    """

    status: int
    request_id: str | None = None
    batch_is_there: bool = False


class BatchRef(ContractModel):
    """A batch and the profile that it is asked for with.

    Attributes:
        store_id: the store that may have its results if the API does not have it; None if they are not looked for.
        seen: the fingerprint of the batch as the run has seen it: a poll that finds it so, and not ended, answers None.
    """

    profile: Profile
    batch_id: str
    store_id: str | None = None
    seen: str | None = None

    @model_serializer(mode="wrap")
    def _brief(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the profile's defaults: a history holds the input of each of its polls."""
        said = {name: value for name, value in serialize(self).items() if value is not None}
        return {**said, "account": self.profile.model_dump(mode="json", exclude_defaults=True)}


class PrepareInput(ContractModel):
    """The requests of a run, inline or in the store; neither, for a batch that was submitted elsewhere.

    Attributes:
        to_send: whether they are to be sent, and so may not cost more than a limit.
        max_cost: the limit of the run's input, in USD.
        notify: the webhooks of the run's input.
        first_run_id: of the run's chain, which reads its requests file once.
    """

    profile: Profile
    requests: list[Any] | None = None
    requests_uri: str | None = None
    first_run_id: str | None = None
    store_id: str | None = None
    to_send: bool = False
    max_cost: MaxCost | None = None
    notify: tuple[str, ...] = ()


class FindRequestsInput(ContractModel):
    """A requests file that may not be there yet.

    Attributes:
        requests_uri: its address, with `{date}` and the like where there is a `zone`.
        time: that the run was scheduled for, which is written there.
        zone: the time zone of that date.
        first_run_id: of the chain of the run, which reads the file once.
    """

    requests_uri: str
    time: AwareDatetime
    zone: str | None = None
    store_id: str | None = None
    first_run_id: str | None = None


class FoundRequests(ContractModel):
    """The address of a requests file, filled in, and whether a file is there; or that of what was read of it before."""

    requests_uri: str
    found: bool


class Prepared(ContractModel):
    """The store and the requests of a run.

    Attributes:
        manifest: the run's requests in the store; None without requests.
        search_attributes: those of ours that the namespace has.
    """

    store_id: str
    manifest: Manifest | None = None
    search_attributes: tuple[str, ...] = ()


class SubmitInput(ContractModel):
    """One POST: the `number`-th of this submitter, to be answered within `timeout` of its start.

    Attributes:
        began: when the run was started; what an earlier run of its workflow id has created since then is its own.
        deadline: of the run: the POST is not made after it.
    """

    profile: Profile
    manifest: Manifest
    submitter: Submitter
    number: int
    anchor: Anchor
    timeout: Seconds
    began: AwareDatetime | None = None
    deadline: AwareDatetime | None = None


class Submitted(ContractModel):
    """The batch; or the record of an earlier POST of this number, made before a reset or a retry of the workflow.

    Attributes:
        batch: the API's answer to this POST.
        recorded: the id of the batch that the earlier POST is known to have created.
        earlier_anchor: the earlier POST's; where no other attribute is set, its outcome is not known. Along with
            `batch` that of another run's POST of these requests, which may have created a batch as well.
        earlier_not_created: whether the earlier POST is known to have created nothing.
        earlier_absent: whether the earlier POST's batch was searched for during the quiet period, and not found.
    """

    batch: MessageBatch | None = None
    recorded: str | None = None
    earlier_anchor: Anchor | None = None
    earlier_not_created: bool = False
    earlier_absent: bool = False


EARLY = timedelta(seconds=45)
"""By how much a batch may seem older than its POST: a task may begin late, by up to a heartbeat."""

LATE = timedelta(seconds=20)
"""By how much a batch may seem younger than the end of its POST: a gateway may set the header that tells the time."""


class PostWindow(ContractModel):
    """The time in which a POST can have created a batch, on the Temporal server's clock.

    Attributes:
        since: the POST's start; None for one before a reset of the run, which is not known.
        until: the API's reply to it, or the time when it can no longer be under way; None while it is.
    """

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    def admits(self, earliest: datetime, latest: datetime | None = None) -> bool:
        """Return whether a batch that was created at a time, or between two, may be the POST's."""
        latest = latest or earliest
        return (self.since is None or latest >= self.since - EARLY) and (
            self.until is None or earliest <= self.until + LATE
        )


class FindCandidatesInput(ContractModel):
    """A POST whose reply was lost, and the time within which its batch must have been created.

    Attributes:
        number: of that POST; 0 for a last search after several.
        until: the time by which its batch must have been created, on the Temporal server's clock.
        windows: the POSTs that may have created a batch; empty where any time from the anchor to `until` counts.
    """

    profile: Profile
    manifest: Manifest
    submitter: Submitter
    number: int
    anchor: Anchor
    until: datetime
    windows: tuple[PostWindow, ...] = ()


class CandidateMatch(ContractModel):
    """A batch of our count, newer than the anchor.

    Attributes:
        taken: another run has claimed it.
        rivals: workflow ids of other undecided runs that may have created it; without any, its results can prove it.
    """

    candidate: Candidate
    taken: bool = False
    rivals: tuple[str, ...] = ()


class FindCandidatesResult(ContractModel):
    """The batch, where a record names it, or those that may be ours, the oldest first.

    Attributes:
        read_at: the time at which the list was requested, on the Temporal server's clock.
        posts: POSTs of this run that may have created a batch, as the store knows them: also those before a reset.
        server: names the server that results come from, if that is not the one of all keys.
    """

    read_at: AwareDatetime
    recorded: str | None = None
    matches: tuple[CandidateMatch, ...] = ()
    posts: int = 0
    server: str | None = None


class AdoptInput(ContractModel):
    """A batch that an operator says is this run's."""

    profile: Profile
    batch_id: str
    claim: BatchClaim
    store_id: str | None = None
    anchor: Anchor | None = None


class VerifyCandidateInput(ContractModel):
    """A candidate that has ended, to be compared with the requests."""

    profile: Profile
    manifest: Manifest
    batch_id: str


class RecordOutcomeInput(ContractModel):
    """The outcome of POSTs: they created this batch, or none was found.

    Attributes:
        submitter: None for a batch that was submitted elsewhere.
        numbers: of the POSTs.
        certain: the batch is the answer to our own POST, or an operator's choice; a proof by its results yields to
            an older claim of another run.
    """

    profile: Profile = ApiProfile()
    submitter: Submitter | None
    claim: BatchClaim
    store_id: str
    numbers: tuple[int, ...]
    batch_id: str | None
    certain: bool = False


class RetrieveInput(ContractModel):
    """The results to land.

    Attributes:
        expected_count: number of requests by the API's own counts.
        keep_partial: whether to keep in the store what arrived if it is not complete.
        compare: whether the batch is not the answer to the POST of this run, and its results may be of other requests.
    """

    profile: Profile
    batch_id: str
    store_id: str
    manifest: Manifest | None
    expected_count: int
    keep_partial: bool = False
    compare: bool = False


class DeleteInput(ContractModel):
    """A batch whose results have been landed in `results_file`, and the run's claim on it.

    Attributes:
        anchor: the submission's, read with the key that the batch is of; None for one that was submitted elsewhere.
    """

    profile: Profile
    batch_id: str
    store_id: str
    results_file: ResultsFile
    claim: BatchClaim
    anchor: Anchor | None = None
