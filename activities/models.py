"""What each activity is given: ids, counters and references, never the requests of a large batch."""

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, SerializerFunctionWrapHandler, model_serializer

from message_batches.api.models import Account, MessageBatch
from message_batches.models import Anchor, Candidate, Manifest, ResultsFile
from message_batches.serialization import Boundary, Seconds
from message_batches.storage.submission_records import Claim, Submitter


class PrepareInput(Boundary):
    """The requests of a run, inline or in the store; neither, for a batch that is only taken over."""

    account: Account
    requests: list[Any] | None = None
    requests_uri: str | None = None
    store_id: str | None = None


class Prepared(Boundary):
    """Where the run works.

    Attributes:
        manifest: the run's requests in the store; None without requests.
        search_attributes: those of ours that the namespace has.
    """

    store_id: str
    manifest: Manifest | None = None
    search_attributes: tuple[str, ...] = ()


class SubmitInput(Boundary):
    """One POST: the `number`-th of this submitter, to be answered within `timeout` of its start."""

    account: Account
    manifest: Manifest
    submitter: Submitter
    number: int
    anchor: Anchor
    timeout: Seconds


class Submitted(Boundary):
    """The batch; or what an earlier POST of this number, before a reset or a retry of the workflow, left behind.

    Attributes:
        batch: the API's answer to this POST.
        recorded: the id of the batch that the earlier POST is known to have created.
        earlier_anchor: the earlier POST's; without anything else said, its outcome is not known.
        earlier_not_created: whether the earlier POST is known to have created nothing.
        earlier_absent: whether the earlier POST's batch was looked for through the quiet period, and not found.
    """

    batch: MessageBatch | None = None
    recorded: str | None = None
    earlier_anchor: Anchor | None = None
    earlier_not_created: bool = False
    earlier_absent: bool = False


class LookInput(Boundary):
    """Where to look for a batch whose POST was never answered.

    Attributes:
        number: of that POST.
        until: by when its batch must have been created, on the Temporal server's clock.
    """

    account: Account
    manifest: Manifest
    submitter: Submitter
    number: int
    anchor: Anchor
    until: datetime


class Sighting(Boundary):
    """A batch of our count, newer than the anchor.

    Attributes:
        taken: somebody else has claimed it.
        rivals: workflow ids of other undecided runs that may have created it; without any, its results can prove it.
    """

    candidate: Candidate
    taken: bool = False
    rivals: tuple[str, ...] = ()


class Looked(Boundary):
    """What a look found: the batch, where a record names it, or those that may be ours, oldest first.

    Attributes:
        posts: POSTs of this run that may have created a batch, as the store knows them: also those before a reset.
        time: when the list was asked for, on the Temporal server's clock.
    """

    recorded: str | None = None
    sightings: tuple[Sighting, ...] = ()
    posts: int = 0
    time: AwareDatetime | None = None


class AdoptInput(Boundary):
    """A batch that a person says is this run's."""

    account: Account
    batch_id: str
    claim: Claim


class ExamineInput(Boundary):
    """A candidate that has ended, to be held against the requests."""

    account: Account
    manifest: Manifest
    batch_id: str


class SettleInput(Boundary):
    """POSTs of a submitter are decided: they made this batch, or none was found.

    Attributes:
        submitter: None for a batch that is only taken over.
        numbers: of the POSTs.
        certain: the batch is the answer to our own POST, or an operator's choice; a proof by its results yields to
            an older claim of somebody else.
    """

    submitter: Submitter | None
    claim: Claim
    store_id: str
    numbers: tuple[int, ...]
    batch_id: str | None
    certain: bool = False


class BatchRef(Boundary):
    """A batch and who asks for it."""

    account: Account
    batch_id: str

    @model_serializer(mode="wrap")
    def _brief(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the account's defaults: a history holds the input of each of its polls."""
        return {**serialize(self), "account": self.account.model_dump(mode="json", exclude_defaults=True)}


class DeleteInput(Boundary):
    """A batch whose results have been landed in `results_file`.

    Attributes:
        claim: the run's; None from a run of before there was one.
    """

    account: Account
    batch_id: str
    store_id: str
    results_file: ResultsFile
    claim: Claim | None = None


class RetrieveInput(Boundary):
    """The results to land.

    Attributes:
        expected_count: number of requests by the API's own counts.
        keep_partial: whether to keep what arrived in the store if it is not complete.
    """

    account: Account
    batch_id: str
    store_id: str
    manifest: Manifest | None
    expected_count: int
    keep_partial: bool = False
