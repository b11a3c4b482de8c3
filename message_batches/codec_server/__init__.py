"""Decrypts payloads for Temporal's Web UI and command line, which hold no key: Temporal's remote codec over HTTP."""

from message_batches.codec_server.auth import TokenAuth
from message_batches.codec_server.server import CodecServer

__all__ = ["CodecServer", "TokenAuth"]
