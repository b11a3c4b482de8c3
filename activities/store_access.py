"""The check that a worker's store is the run's store."""

from message_batches.errors import WrongStore
from message_batches.ports import Store


async def own_store(store: Store, store_id: str) -> None:
    """Raise `WrongStore` unless the store is the one the run began with: two machines may each have such a path."""
    found = await store.identity()
    if found != store_id:
        raise WrongStore(
            f"This worker's store {store.uri('')} has the id {found}, the run's store has {store_id}. Point "
            "MESSAGE_BATCHES_STORE of every worker and starter at one shared store, or stop the workers on the other."
        )
