"""The service that callers import is the one that workers serve."""

import nexusrpc

from message_batches.nexus import MessageBatches
from workflows.nexus import MessageBatchesHandler


def test_the_handler_has_the_operations_and_outputs_of_the_service() -> None:
    service = nexusrpc.get_service_definition(MessageBatches)
    handler = nexusrpc.get_service_definition(MessageBatchesHandler)

    assert service is not None
    assert handler is not None
    assert service.name == handler.name
    assert {name: operation.output_type for name, operation in service.operation_definitions.items()} == {
        name: operation.output_type for name, operation in handler.operation_definitions.items()
    }
