"""Payload encryption: secrecy, integrity, and the errors of a process that cannot decrypt."""

import base64
import gzip
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer

from message_batches.encryption.codec import EncryptionCodec
from message_batches.encryption.keys import EncryptionKey
from message_batches.errors import CannotDecrypt
from message_batches.models import BatchInput
from message_batches.temporal.connection import DATA_CONVERTER, data_converter
from tests.harness.encryption import key
from tests.harness.project import HISTORIES
from tests.harness.requests import requests
from workflows.message_batch import MessageBatchWorkflow

OLD, NEW = key("2026-01"), key("2026-11")
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a prompt"')


async def encrypted(*keys: EncryptionKey, payload: Payload = PLAIN) -> Payload:
    (found,) = await EncryptionCodec(keys or (NEW,)).encode([payload])
    return found


async def decrypted(payload: Payload, *keys: EncryptionKey) -> Payload:
    (found,) = await EncryptionCodec(keys).decode([payload])
    return found


async def test_an_encrypted_payload_names_its_key_and_shows_nothing_else() -> None:
    hidden = await encrypted(NEW)

    assert dict(hidden.metadata) == {"encoding": b"binary/encrypted", "encryption-key-id": b"2026-11"}
    assert b"prompt" not in hidden.data
    assert b"json" not in hidden.SerializeToString()
    assert await decrypted(hidden, NEW) == PLAIN


async def test_each_payload_has_a_nonce_of_its_own() -> None:
    made = await EncryptionCodec([NEW]).encode([PLAIN] * 100)

    assert len({payload.data[:12] for payload in made}) == 100
    assert len({payload.data[12:] for payload in made}) == 100


async def test_the_first_key_encrypts_and_all_decrypt() -> None:
    assert (await encrypted(NEW, OLD)).metadata["encryption-key-id"] == b"2026-11"
    assert await decrypted(await encrypted(OLD), NEW, OLD) == PLAIN
    assert await decrypted(await encrypted(NEW), OLD, NEW) == PLAIN


async def test_an_unencrypted_payload_is_passed_on_unchanged() -> None:
    assert await decrypted(PLAIN, NEW) is PLAIN
    assert await decrypted(PLAIN) is PLAIN
    assert await EncryptionCodec().encode([PLAIN]) == [PLAIN]


@pytest.mark.parametrize(("held", "said"), [((OLD,), "it holds: 2026-01"), ((), "it holds: none")])
async def test_a_missing_key_is_named_by_its_id(held: tuple[EncryptionKey, ...], said: str) -> None:
    with pytest.raises(CannotDecrypt, match=said) as caught:
        await decrypted(await encrypted(NEW), *held)

    assert caught.value.key_id == "2026-11"
    assert "key '2026-11'" in str(caught.value)
    assert "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE" in str(caught.value)


async def test_another_key_under_the_same_id_is_distinguished_from_a_missing_one() -> None:
    with pytest.raises(CannotDecrypt, match="another key has the same id") as caught:
        await decrypted(await encrypted(NEW), EncryptionKey("2026-11", OLD.secret))

    assert caught.value.key_id == "2026-11"


@pytest.mark.parametrize("place", [0, 11, 12, 30, -17, -1])
async def test_one_altered_byte_is_noticed(place: int) -> None:
    payload = await encrypted(NEW)
    data = bytearray(payload.data)
    data[place] ^= 1
    payload.data = bytes(data)

    with pytest.raises(CannotDecrypt) as caught:
        await decrypted(payload, NEW)

    assert caught.value.key_id == "2026-11"


@pytest.mark.parametrize("length", [0, 5, 12, 27])
async def test_a_payload_cut_short_is_noticed(length: int) -> None:
    payload = await encrypted(NEW)
    payload.data = payload.data[:length]

    with pytest.raises(CannotDecrypt) as caught:
        await decrypted(payload, NEW)

    assert caught.value.key_id == "2026-11"


async def test_the_id_of_the_key_is_authenticated() -> None:
    same_under_two_ids = (NEW, EncryptionKey("renamed", NEW.secret))
    payload = await encrypted(NEW)
    payload.metadata["encryption-key-id"] = b"renamed"

    with pytest.raises(CannotDecrypt, match="key 'renamed'"):
        await decrypted(payload, *same_under_two_ids)


@pytest.mark.parametrize("key_id", [b"", b"\xff\xfe", b"x" * 100_000, b"a\nb"])
async def test_an_invalid_key_id_gets_a_short_error(key_id: bytes) -> None:
    payload = await encrypted(NEW)
    payload.metadata["encryption-key-id"] = key_id

    with pytest.raises(CannotDecrypt) as caught:
        await decrypted(payload, NEW)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


async def test_the_form_of_a_payload_is_stable() -> None:
    """A recorded payload: every later version must decrypt those in histories."""
    recorded = Payload(
        metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"2026-11"},
        data=base64.b64decode(
            "cBs/D4SUjxbQvz/IciKlxk9m2bguGPPRIz+PaLjr7o8X4InlU0e8PcRDe4DPlqarFN5bAmfg/xSz7VLQ634VnQ=="
        ),
    )

    assert await decrypted(recorded, NEW) == PLAIN


async def test_our_models_are_unchanged_by_a_round_trip() -> None:
    given = BatchInput(requests=requests(3))
    payloads = await data_converter([NEW]).encode([given, None, b"bytes"])

    assert all(payload.metadata["encoding"] == b"binary/encrypted" for payload in payloads)
    assert await data_converter([OLD, NEW]).decode(payloads, [BatchInput, type(None), bytes]) == [given, None, b"bytes"]


def raised() -> ApplicationError:
    try:
        raise ApplicationError("the prompt was refused", {"batchId": "msgbatch_1"}, type="InvalidRequests")
    except ApplicationError as error:
        return error


async def test_messages_stack_traces_and_details_of_failures_are_encrypted_and_restored() -> None:
    failure = Failure()
    error = raised()
    error.__cause__ = ValueError("because of this word")
    await data_converter([NEW]).encode_failure(error, failure)
    wire = failure.SerializeToString()
    found: Any = await data_converter([NEW]).decode_failure(failure)

    assert b"InvalidRequests" in wire
    assert not any(hidden in wire for hidden in (b"prompt", b"because", b"msgbatch", b"raised", b".py"))
    assert (found.message, found.type, found.details) == (error.message, error.type, error.details)
    assert str(found.__cause__) == "ValueError: because of this word"


async def test_failures_are_read_whether_they_were_encoded_or_not() -> None:
    hidden, plain = Failure(), Failure()
    await data_converter([NEW]).encode_failure(raised(), hidden)
    await DATA_CONVERTER.encode_failure(raised(), plain)

    assert plain.message == "the prompt was refused"
    assert "refused" in str(await data_converter([NEW]).decode_failure(plain))
    with pytest.raises(CannotDecrypt):
        await DATA_CONVERTER.decode_failure(hidden)


async def test_a_run_from_before_encryption_replays_with_it() -> None:
    path = HISTORIES / "reconciled-1.json.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        history = WorkflowHistory.from_json(path.name, file.read())

    await Replayer(workflows=[MessageBatchWorkflow], data_converter=data_converter([NEW])).replay_workflow(history)
