"""The command `setup`: the namespace gets the search attributes that it lacks."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client
from temporalio.service import RPCError

from message_batches.cli.context import DONE, FAILED, Answer, Desk
from message_batches.runs.control import Refused
from message_batches.temporal.namespaces import address_of
from message_batches.temporal.search_attributes import (
    SEARCH_ATTRIBUTES,
    indexed_type,
    register,
    registered,
    usable_names,
)


async def setup(desk: Desk) -> Answer:
    """Register what is missing; what is there stays, also if it is of another type and so of no use."""
    client = await desk.client()
    try:
        before = await registered(client)
        missing = tuple(key.name for key in SEARCH_ATTRIBUTES if key.name not in before)
        if missing:
            await register(client, missing)
        after = await registered(client)
    except RPCError as error:
        raise Refused(_refused(client, error)) from error
    found = {**{name: indexed_type(key) for key in SEARCH_ATTRIBUTES if (name := key.name) in missing}, **after}
    document = {
        "namespace": client.namespace,
        "address": address_of(client),
        "searchAttributes": [
            {"name": key.name, "type": _word(found[key.name]), "registered": key.name in missing}
            for key in SEARCH_ATTRIBUTES
        ],
    }
    complete = len(usable_names(found)) == len(SEARCH_ATTRIBUTES)
    return Answer(document, _shown(client, found, missing), DONE if complete else FAILED)


def _shown(client: Client, found: Mapping[str, "IndexedValueType.ValueType"], missing: Sequence[str]) -> RenderableType:
    lines = [Text(f"Search attributes of namespace {client.namespace} at {address_of(client)}", style="bold")]
    for key in SEARCH_ATTRIBUTES:
        said, style = ("registered", "green") if key.name in missing else ("was there", "")
        if found[key.name] != indexed_type(key):
            said, style = f"is in the way: it should be {_word(indexed_type(key))}. It is not used", "red"
        lines.append(Text(f"{key.name:<14} {_word(found[key.name]):<8} {said}", style=style))
    return Group(*lines)


def _refused(client: Client, error: RPCError) -> str:
    wanted = ", ".join(f"{key.name} ({_word(indexed_type(key))})" for key in SEARCH_ATTRIBUTES)
    return (
        f"Temporal does not register search attributes in namespace {client.namespace!r} for you: {error.message}. "
        f"Whoever administers it can: {wanted}. Without them all works but `list --status`"
    )


def _word(kind: "IndexedValueType.ValueType") -> str:
    return IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").capitalize()
