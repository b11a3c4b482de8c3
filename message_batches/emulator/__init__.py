"""A local Message Batches API with faults on demand: for tests of batch code, the client's own included."""

from message_batches.emulator.options import EmulatorOptions, UndocumentedBehaviour
from message_batches.emulator.server import Emulator

__all__ = ["Emulator", "EmulatorOptions", "UndocumentedBehaviour"]
