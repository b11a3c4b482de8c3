"""The activity that looks for the requests file of a run, whose address may name the time of the run."""

from temporalio import activity

from activities.failures import check_store, errors_as_failures
from activities.models import FindRequestsInput, FoundRequests
from message_batches.contract import ActivityType
from message_batches.requests.manifest import is_stored
from message_batches.storage.interface import Store
from message_batches.uri_template import fill


class RequestsActivities:
    """The search for requests files, over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @activity.defn(name=ActivityType.FIND_REQUESTS)
    async def find_requests(self, given: FindRequestsInput) -> FoundRequests:
        """Fill in the address of a requests file, and look once whether it is in the store."""
        with errors_as_failures():
            if given.store_id:
                await check_store(self._store, given.store_id)
            uri = given.requests_uri
            if given.zone is not None:
                uri = fill(uri, given.time, given.zone)
            return FoundRequests(requests_uri=uri, found=await is_stored(self._store, self._store.name(uri)))
