"""Payload encryption: payloads are decrypted by their key and no other, and every change of one is detected."""

import asyncio
import base64
from collections.abc import Sequence

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from message_batches.encryption.codec import ENCODING, KEY_ID_METADATA, EncryptionCodec
from message_batches.encryption.keys import KEY_BYTES, EncryptionKey, read_keys
from message_batches.errors import CannotDecrypt

KEY_IDS = st.text("abzABZ019._-", min_size=1, max_size=32)
KEYS = st.lists(
    st.builds(EncryptionKey, KEY_IDS, st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)),
    min_size=1,
    max_size=4,
    unique_by=(lambda key: key.id, lambda key: key.secret),
)
METADATA = st.dictionaries(st.text(max_size=8), st.binary(max_size=20), max_size=3).filter(
    lambda metadata: metadata.get("encoding") != ENCODING
)
PAYLOADS = st.builds(lambda metadata, data: Payload(metadata=metadata, data=data), METADATA, st.binary(max_size=200))


def encoded(keys: Sequence[EncryptionKey], *payloads: Payload) -> list[Payload]:
    return asyncio.run(EncryptionCodec(keys).encode(payloads))


def decoded(keys: Sequence[EncryptionKey], *payloads: Payload) -> list[Payload]:
    return asyncio.run(EncryptionCodec(keys).decode(payloads))


@given(data=st.data(), keys=KEYS, payloads=st.lists(PAYLOADS, max_size=3))
def test_a_payload_is_decrypted_by_every_holder_of_its_key(
    data: st.DataObject, keys: list[EncryptionKey], payloads: list[Payload]
) -> None:
    for first in keys:
        sealed = encoded([first], *payloads)
        holding = data.draw(st.permutations(keys))

        assert decoded(holding, *sealed) == payloads
        assert all(payload.metadata[KEY_ID_METADATA] == first.id.encode() for payload in sealed)
        assert encoded(holding, *payloads)[:1] != sealed[:1] or not payloads


@given(payload=PAYLOADS, keys=KEYS)
def test_without_keys_payloads_are_unchanged_and_encrypted_ones_name_their_key(
    payload: Payload, keys: list[EncryptionKey]
) -> None:
    assert encoded([], payload) == decoded([], payload) == [payload]
    others = keys[1:]
    with pytest.raises(CannotDecrypt) as caught:
        decoded(others, *encoded(keys[:1], payload))
    assert caught.value.key_id == keys[0].id
    assert repr(keys[0].id) in str(caught.value)


@given(
    payload=PAYLOADS,
    keys=KEYS,
    at=st.integers(0),
    put=st.binary(max_size=3),
    cut=st.integers(0, 3),
    name=st.none() | KEY_IDS | st.binary(max_size=8),
)
def test_every_change_of_an_encrypted_payload_is_detected(
    payload: Payload, keys: list[EncryptionKey], at: int, put: bytes, cut: int, name: str | bytes | None
) -> None:
    (sealed,) = encoded(keys, payload)
    other = Payload()
    other.CopyFrom(sealed)
    at %= len(sealed.data) + 1
    other.data = sealed.data[:at] + put + sealed.data[at + cut :]
    if name is not None:
        other.metadata[KEY_ID_METADATA] = name.encode() if isinstance(name, str) else name
    assume(other != sealed)

    with pytest.raises(CannotDecrypt):
        decoded(keys, other)


@given(payload=PAYLOADS, keys=KEYS, secret=st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_another_key_under_the_same_id_decrypts_nothing(
    payload: Payload, keys: list[EncryptionKey], secret: bytes
) -> None:
    assume(secret != keys[0].secret)

    with pytest.raises(CannotDecrypt):
        decoded([EncryptionKey(keys[0].id, secret)], *encoded(keys, payload))


@given(data=st.data(), keys=KEYS)
def test_keys_are_read_as_they_are_written_down(data: st.DataObject, keys: list[EncryptionKey]) -> None:
    blank = st.sampled_from(["", " ", "\t"])
    entries = [f"{key.id}{data.draw(blank)}:{data.draw(blank)}{base64.b64encode(key.secret).decode()}" for key in keys]
    between = st.sampled_from(["\n", ",", " , ", "\n# a comment, with: a colon\n", "\r\n\n"])

    assert read_keys("".join(f"{entry}{data.draw(between)}" for entry in entries)) == tuple(keys)


@given(text=st.text(max_size=100) | st.lists(st.text("aA:=,\n #+/0", max_size=60)).map("".join))
@example(text="a:" + "A" * 43)
@example(text="QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=")
@example(text="k:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\nk:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=")
def test_an_invalid_key_is_refused_without_its_text(text: str) -> None:
    refusal = None
    try:
        keys = read_keys(text)
    except ValueError as error:
        refusal = error
    if refusal:
        # Not a decoder's own error, which contains the invalid text.
        assert type(refusal) is ValueError
        assert refusal.__suppress_context__ or refusal.__context__ is None
        assert not [word for word in text.replace(":", " ").split() if len(word) > 32 and word in str(refusal)]
    else:
        assert keys
        assert all(len(key.secret) == KEY_BYTES for key in keys)
