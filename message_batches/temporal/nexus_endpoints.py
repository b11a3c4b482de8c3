"""The Nexus endpoint, by whose name callers in other namespaces reach the workers of a task queue."""

from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest, ListNexusEndpointsRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from message_batches.errors import MessageBatchesError
from message_batches.serialization import ContractModel
from message_batches.temporal.diagnosis import read_again, unanswered


class EndpointTaken(MessageBatchesError):
    """The endpoint exists and leads elsewhere; changing it would take its callers along."""


class NexusEndpoint(ContractModel):
    """An endpoint and its target, and whether this call has created it."""

    name: str
    namespace: str
    task_queue: str
    created: bool


async def ensure_endpoint(client: Client, name: str, task_queue: str) -> NexusEndpoint:
    """Create an endpoint that leads to a task queue of a client's namespace; one that leads there already stays.

    Raises:
        EndpointTaken: it leads elsewhere, and is left as it is.
        RPCError: Temporal refuses, such as a name that is not valid.
    """
    created = False
    found = await _find(client, name)
    if found is None:
        created = await _create(client, name, task_queue)
        found = await _find(client, name)
    wanted = EndpointTarget.Worker(namespace=client.namespace, task_queue=task_queue)
    if found is not None and found.target.worker != wanted:
        raise EndpointTaken(
            f"The Nexus endpoint {name!r} exists and leads to {_described(found.target)}, not to task queue "
            f"{task_queue!r} of namespace {client.namespace!r}: choose another name, or have its owner change it "
            f"(`temporal operator nexus endpoint update --name {name}`)"
        )
    return NexusEndpoint(name=name, namespace=client.namespace, task_queue=task_queue, created=created)


async def _create(client: Client, name: str, task_queue: str) -> bool:
    """Create it, and return whether that was done here; where the answer was lost, a list of them shows it."""
    worker = EndpointTarget.Worker(namespace=client.namespace, task_queue=task_queue)
    spec = EndpointSpec(name=name, target=EndpointTarget(worker=worker))
    try:
        await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return False
        if not unanswered(error) or await _find(client, name) is None:
            raise
    return True


async def _find(client: Client, name: str) -> EndpointSpec | None:
    request = ListNexusEndpointsRequest(name=name, page_size=1)
    listing = client.operator_service.list_nexus_endpoints
    answer = await read_again(lambda timeout: listing(request, retry=True, timeout=timeout))
    return next((endpoint.spec for endpoint in answer.endpoints), None)


def _described(target: EndpointTarget) -> str:
    if target.HasField("external"):
        return f"a server outside, {target.external.url}"
    return f"task queue {target.worker.task_queue!r} of namespace {target.worker.namespace!r}"
