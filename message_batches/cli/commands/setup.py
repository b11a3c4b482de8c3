"""The command `setup`: registers the search attributes that the namespace lacks, and creates a Nexus endpoint."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from message_batches.cli.context import DONE, FAILED, CommandContext, CommandResult
from message_batches.cli.json_output import SearchAttribute, SetupDocument
from message_batches.runs.control import Refused
from message_batches.temporal.diagnosis import call_problem, unanswered
from message_batches.temporal.namespaces import address_of
from message_batches.temporal.nexus_endpoints import NexusEndpoint, ensure_endpoint
from message_batches.temporal.search_attributes import (
    SEARCH_ATTRIBUTES,
    indexed_type,
    register,
    registered,
    usable_names,
)


async def setup(context: CommandContext, nexus_endpoint: str | None) -> CommandResult:
    """Register the missing ones; an existing one stays, also if it is of another type and cannot be used.

    Args:
        context: of the command.
        nexus_endpoint: the name of an endpoint that is to lead to the task queue; None for none.
    """
    client = await context.client()
    try:
        before = await registered(client)
        missing = tuple(key.name for key in SEARCH_ATTRIBUTES if key.name not in before)
        if missing:
            await _register(client, missing)
        after = await registered(client)
    except RPCError as error:
        # A caller who may not register them needs their names, for an administrator.
        denied = error.status is RPCStatusCode.PERMISSION_DENIED
        if unanswered(error) or (call_problem(error, client.namespace, address_of(client)) and not denied):
            raise
        raise Refused(_refused(client, error)) from error
    endpoint = await _endpoint(client, nexus_endpoint, context.settings.task_queue) if nexus_endpoint else None
    found = {**{name: indexed_type(key) for key in SEARCH_ATTRIBUTES if (name := key.name) in missing}, **after}
    document = SetupDocument(
        namespace=client.namespace,
        address=address_of(client),
        search_attributes=tuple(
            SearchAttribute(name=key.name, type=_word(found[key.name]), registered=key.name in missing)
            for key in SEARCH_ATTRIBUTES
        ),
        nexus_endpoint=endpoint,
    )
    complete = len(usable_names(found)) == len(SEARCH_ATTRIBUTES)
    return CommandResult(document, _shown(client, found, missing, endpoint), DONE if complete else FAILED)


async def _register(client: Client, missing: tuple[str, ...]) -> None:
    """Register attributes; whether it happened although the answer was lost, the next list of them shows."""
    try:
        await register(client, missing)
    except RPCError as error:
        if not unanswered(error) or set(missing) - set(await registered(client)):
            raise


async def _endpoint(client: Client, name: str, task_queue: str) -> NexusEndpoint:
    try:
        return await ensure_endpoint(client, name, task_queue)
    except RPCError as error:
        if unanswered(error):
            raise
        raise Refused(
            f"Temporal does not create the Nexus endpoint {name!r} for you: {error.message.rstrip('.')}. Its "
            f"administrator can: target namespace {client.namespace}, target task queue {task_queue}"
        ) from error


def _shown(
    client: Client,
    found: Mapping[str, "IndexedValueType.ValueType"],
    missing: Sequence[str],
    endpoint: NexusEndpoint | None,
) -> RenderableType:
    lines = [Text(f"Search attributes of namespace {client.namespace} at {address_of(client)}", style="bold")]
    for key in SEARCH_ATTRIBUTES:
        state, style = ("registered", "green") if key.name in missing else ("existed before", "")
        if found[key.name] != indexed_type(key):
            state, style = f"is in the way: it should be {_word(indexed_type(key))}. It is not used", "red"
        lines.append(Text(f"{key.name:<14} {_word(found[key.name]):<8} {state}", style=style))
    if endpoint:
        state, style = ("created", "green") if endpoint.created else ("existed before", "")
        lines.append(
            Text(f"Nexus endpoint {endpoint.name} leads to task queue {endpoint.task_queue}: {state}", style=style)
        )
    return Group(*lines)


def _refused(client: Client, error: RPCError) -> str:
    wanted = ", ".join(f"{key.name} ({_word(indexed_type(key))})" for key in SEARCH_ATTRIBUTES)
    reason = error.message.rstrip(".")
    return (
        f"Temporal does not register search attributes in namespace {client.namespace!r} for you: {reason}. "
        f"Its administrator can: {wanted}. Without them everything works except `list --status`"
    )


def _word(kind: "IndexedValueType.ValueType") -> str:
    return IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").capitalize()
