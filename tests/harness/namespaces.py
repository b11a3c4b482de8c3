"""Namespaces of a test's own."""

from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer


async def new_namespace(temporal: DevServer, attributes: dict[str, "IndexedValueType.ValueType"]) -> Client:
    """Create a namespace with just these search attributes, and return a client of it."""
    name = f"namespace-{uuid4()}"
    kept = Duration(seconds=24 * 3600)
    request = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=kept)
    await temporal.client.workflow_service.register_namespace(request)
    client = await connect(address=temporal.address, namespace=name)
    if attributes:
        added = AddSearchAttributesRequest(namespace=name, search_attributes=attributes)
        await client.operator_service.add_search_attributes(added)
    return client
