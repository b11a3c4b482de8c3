"""Temporal's own configuration: errors in it do not repeat a line or a value, which may be a key."""

import traceback
from pathlib import Path

import pytest

from message_batches.temporal.connection import TemporalUnreachable, connect


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))


async def refused(says: str) -> None:
    with pytest.raises(TemporalUnreachable, match=says) as caught:
        await connect()
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('api_key = "hidden', "line 2, column 18: invalid basic string"),
        ("api_key = hidden", "line 2, column 11: string values must be quoted"),
        ("hidden", "line 2, column 7: key with no value"),
        ('tls = "hidden"', "line 2, column 7: invalid type, expected struct"),
        ('tls = "hid\\", expected hidden"', "line 2, column 7: invalid type, expected struct"),
        ('tls.client_key_data = ["hidden"]', "line 2, column 23: invalid type, expected a string"),
        ('tls.client_key_path = "/hidden"\ntls.client_cert_path = "/hidden"', "a file named in it: No such file"),
    ],
)
async def test_an_error_in_the_file_is_reported_by_place_and_reason(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "temporal.toml").write_text(f"[profile.default]\n{line}\n")

    await refused(says)


async def test_the_name_of_a_missing_profile_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_PROFILE", "hidden")

    await refused("Profile not found")


@pytest.mark.parametrize(
    "address",
    ["http://user:hidden@127.0.0.1:1", "hidden@127.0.0.1:1", "sk-ant-hidden", "127.0.0.1:hidden", "x/hidden"],
)
async def test_an_invalid_address_is_not_repeated(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)

    await refused("TEMPORAL_ADDRESS.* is not valid: expected host:port")


async def test_an_address_without_a_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")

    await refused("No Temporal server answers at 127.0.0.1:1")
