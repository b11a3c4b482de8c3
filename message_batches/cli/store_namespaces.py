"""The namespaces whose runs may need what is in a store: all of them are looked at before anything is removed."""

from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.cli.runs import Refused
from message_batches.connection import connect
from message_batches.namespaces import Namespaces, address_of, id_of
from message_batches.ports import Store


async def clients_of(store: Store, client: Client) -> list[Client]:
    """A client of each namespace that works with a store, beginning with the given one.

    `Refused` unless the given one does, and the others are on its server.
    """
    notes = Namespaces(store)
    noted = await notes.all()
    here = f"{client.namespace} at {address_of(client)}"
    if not noted:
        raise Refused(
            f"No namespace is noted in {store.uri('')} yet, so {here} may be the wrong one: a worker notes its own "
            "with the next run that it takes up. Nothing was removed"
        )
    own = await id_of(client)
    known = {namespace_id: str(namespace or namespace_id) for namespace_id, namespace in noted.items()}
    if own not in noted:
        raise Refused(
            f"The namespace {here} has no run that worked with {store.uri('')}, but these have: "
            f"{'; '.join(known.values())}. Set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE to it. Nothing was removed"
        )
    clients, missing = [client], []
    for namespace_id, namespace in noted.items():
        if namespace_id == own:
            continue
        other = await _beside(client, namespace.name, namespace_id) if namespace else None
        if other:
            clients.append(other)
        else:
            missing.append(f"{known[namespace_id]} (noted in {notes.uri(namespace_id)})")
    if missing:
        raise Refused(
            f"These namespaces work with {store.uri('')} too, and {address_of(client)} does not show their runs: "
            f"{'; '.join(missing)}. Remove the note of one that no longer works with this store. Nothing was removed"
        )
    return clients


async def _beside(client: Client, name: str, namespace_id: str) -> Client | None:
    """A client of another namespace on the same server, if that is the one of this id."""
    try:
        other = await connect(address=address_of(client), namespace=name)
        return other if await id_of(other) == namespace_id else None
    except RPCError:
        return None
