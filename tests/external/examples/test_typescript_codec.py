"""The codec of the example in TypeScript and the one in Python read each other's payloads, keys and refuse the same."""

import base64
import json
import secrets
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from message_batches.encryption.codec import EncryptionCodec
from message_batches.encryption.keys import EncryptionKey, read_keys
from message_batches.errors import CannotDecrypt
from tests.external.examples.parents import TYPESCRIPT
from tests.harness import npm
from tests.harness.encryption import key, written

OLD, NEW = key("2026-01"), key("2026-11")
PAYLOADS = [
    Payload(metadata={"encoding": b"json/plain"}, data='"“Ozean” 🌊 \u2028"'.encode()),
    Payload(metadata={"encoding": b"binary/null"}),
    Payload(metadata={"encoding": b"binary/plain", "more": bytes(range(256))}, data=secrets.token_bytes(10_000)),
    Payload(),
]
PROGRAM = """
const { EncryptionCodec, readKeys } = require('./lib/codec.js');
const { Payload } = require('@temporalio/proto').temporal.api.common.v1;
const { how, keys, texts } = JSON.parse(process.argv[1]);
const read = (text) => Payload.decode(Buffer.from(text, 'base64'));
const write = (payload) => Buffer.from(Payload.encode(payload).finish()).toString('base64');
async function main() {
  if (how === 'readKeys') {
    return texts.map((text) => {
      try {
        return readKeys(text).map(({ id, secret }) => [id, Buffer.from(secret).toString('hex')]);
      } catch (error) {
        return error.message;
      }
    });
  }
  const codec = new EncryptionCodec(keys ? readKeys(keys) : []);
  return (await codec[how](texts.map(read))).map(write);
}
main().catch((error) => `${error.name}: ${error.message}`).then((answer) => console.log(JSON.stringify(answer)));
"""

pytestmark = pytest.mark.usefixtures("typescript")


def in_typescript(how: str, texts: Sequence[str], keys: Sequence[EncryptionKey] = ()) -> Any:
    """Return the answer of a program in TypeScript: for each text one, or the error."""
    given = json.dumps({"how": how, "keys": written(keys), "texts": texts})
    done = npm.run("node", "-e", PROGRAM, given, cwd=TYPESCRIPT)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


def texts_of(payloads: Sequence[Payload]) -> list[str]:
    return [base64.b64encode(payload.SerializeToString()).decode() for payload in payloads]


def payloads_of(texts: Sequence[str]) -> list[Payload]:
    return [Payload.FromString(base64.b64decode(text)) for text in texts]


async def test_python_reads_what_typescript_encrypts() -> None:
    encrypted = payloads_of(in_typescript("encode", texts_of(PAYLOADS), [NEW, OLD]))

    assert {(each.metadata["encoding"], each.metadata["encryption-key-id"]) for each in encrypted} == {
        (b"binary/encrypted", b"2026-11")
    }
    assert len({each.data[:12] for each in encrypted}) == len(PAYLOADS)
    assert await EncryptionCodec([NEW]).decode(encrypted) == PAYLOADS
    ours = await EncryptionCodec([NEW]).encode(PAYLOADS)
    assert [len(each.data) for each in encrypted] == [len(each.data) for each in ours]


async def test_typescript_reads_what_python_encrypts_with_any_of_its_keys_and_what_is_not_encrypted() -> None:
    encrypted = [*await EncryptionCodec([NEW]).encode(PAYLOADS), *await EncryptionCodec([OLD]).encode(PAYLOADS)]

    decrypted = in_typescript("decode", texts_of([*encrypted, *PAYLOADS]), [NEW, OLD])

    assert payloads_of(decrypted) == [*PAYLOADS, *PAYLOADS, *PAYLOADS]


def test_without_a_key_typescript_encrypts_nothing() -> None:
    assert payloads_of(in_typescript("encode", texts_of(PAYLOADS))) == PAYLOADS


@pytest.mark.parametrize(
    "harm",
    [
        lambda it: Payload(metadata=it.metadata, data=it.data[:-1] + bytes([it.data[-1] ^ 1])),
        lambda it: Payload(metadata=it.metadata, data=it.data[:20]),
        lambda it: Payload(metadata=it.metadata),
        lambda it: Payload(metadata={**it.metadata, "encryption-key-id": b"2026-01"}, data=it.data),
        lambda it: Payload(metadata={**it.metadata, "encryption-key-id": b"\xff" * 100}, data=it.data),
        lambda it: Payload(metadata={"encoding": b"binary/encrypted"}, data=it.data),
    ],
    ids=["altered", "cut", "empty", "of another key", "of a key that is no text", "of no key"],
)
async def test_both_refuse_the_same_with_the_same_words(harm: Any) -> None:
    [encrypted] = await EncryptionCodec([NEW]).encode(PAYLOADS[:1])
    harmed = harm(encrypted)
    with pytest.raises(CannotDecrypt) as caught:
        await EncryptionCodec([NEW, OLD]).decode([harmed])

    assert in_typescript("decode", texts_of([harmed]), [NEW, OLD]) == f"CannotDecrypt: {caught.value}"


def test_both_read_keys_alike_and_refuse_the_same_with_the_same_words() -> None:
    good = written([NEW])
    secret = good.partition(":")[2]
    texts = [
        *(good, f"# a comment\r\n  a : {secret} ,\n\n{good}\n", written([NEW, OLD])),
        *("", "# nothing\n", ",,"),
        *(secret, f"{'x' * 33}:{secret}", f"a b:{secret}", f":{secret}"),
        *("a:", "a:not base64", f"a:{secret[:-1]}", f"a:{secret}=", "a:c2hvcnQ=", f"a:{secret[:-4]}"),
        f"{good}\na:{secret}\n{good}",
    ]

    def ours(text: str) -> Any:
        try:
            return [[each.id, each.secret.hex()] for each in read_keys(text)]
        except ValueError as error:
            return str(error)

    assert in_typescript("readKeys", texts) == [ours(text) for text in texts]
