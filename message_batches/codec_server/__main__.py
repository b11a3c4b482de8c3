"""The command line: `python -m message_batches.codec_server`."""

import argparse
import asyncio
import ipaddress
import logging
import re
import signal
import sys
from collections.abc import Sequence

from message_batches.codec_server.auth import TokenAuth
from message_batches.codec_server.server import CodecServer
from message_batches.encryption.codec import EncryptionCodec
from message_batches.errors import MessageBatchesError
from message_batches.listener import host_and_port, set_process_limits
from message_batches.settings import codec_token, encryption_keys

PORT = 8234


class CannotServe(MessageBatchesError):
    """A required setting of the codec server is missing."""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m message_batches.codec_server",
        description="Decrypts payloads for Temporal's Web UI and command line. The keys and the token come from the "
        "environment: see docs/encryption.md.",
    )
    add = parser.add_argument
    add("--listen", default=f"127.0.0.1:{PORT}", metavar="HOST:PORT", help="port 0 is a free one (%(default)s)")
    add(
        "--ui-origin",
        type=_origin,
        action="append",
        default=[],
        metavar="URL",
        help="a Web UI whose pages may call, such as http://localhost:8233 (repeatable)",
    )
    add("--encode", action="store_true", help="encrypt as well, for `temporal workflow start` and the like")
    add("--without-token", action="store_true", help="let every program of this machine decrypt; on loopback only")
    return parser


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT."""
    keys = encryption_keys()
    if not keys:
        raise CannotServe(
            "There is no key to decrypt with: set MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE or "
            "MESSAGE_BATCHES_ENCRYPTION_KEYS as the workers have it"
        )
    host, port = host_and_port("--listen", options.listen, PORT)
    access = _access(options, host)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with CodecServer(EncryptionCodec(keys), access, host=host, port=port, encode=options.encode) as server:
        does = "decodes and encodes" if options.encode else "decodes"
        print(
            f"Codec server listening on {server.url}: {does} with keys {', '.join(key.id for key in keys)}\n"
            f"  callers  {'every program of this machine' if options.without_token else 'who has the token'}\n"
            f"  pages    {', '.join(access.origins) or 'none: --ui-origin names a Web UI'}",
            flush=True,
        )
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the codec server as a process of its own."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    set_process_limits()
    try:
        asyncio.run(serve(options))
    except MessageBatchesError as error:
        print(f"codec_server: {error}", file=sys.stderr)
        return 2
    return 0


def _access(options: argparse.Namespace, host: str) -> TokenAuth:
    """Return the access rule; access without a token must be asked for."""
    token = codec_token()
    if token and options.without_token:
        raise CannotServe("MESSAGE_BATCHES_CODEC_TOKEN is set: leave --without-token out, or unset it")
    if not token and not options.without_token:
        raise CannotServe("Set MESSAGE_BATCHES_CODEC_TOKEN, such as to what `openssl rand -hex 32` gives")
    if not token and not _is_loopback(host):
        raise CannotServe(f"Without a token it listens on loopback only, not on {host}")
    return TokenAuth(token, options.ui_origin)


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s*@?#]+/?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin, such as http://localhost:8233: no path, no *")
    return text.removesuffix("/").lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
