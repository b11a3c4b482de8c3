"""Temporal's own configuration: errors in it do not repeat a line or a value, which may be a key."""

import traceback
from pathlib import Path

import pytest

from message_batches.temporal.connection import TemporalUnreachable, connect, run_url, web_ui_of
from message_batches.temporal.diagnosis import Attempt, connection_problem
from tests.harness.carrying import listening, stay_silent
from tests.harness.processes import lasting_port


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
        (
            'tls.client_key_path = "/k"\ntls.client_cert_path = "/cert"',
            "tls.client_cert_path in temporal.toml: /cert: the file cannot be read .No such file",
        ),
        ('tls.client_cert_data = "x"\ntls.client_key_path = "/hidden"', "tls.client_key_path in .* cannot be read"),
        ('tls.client_cert_data = "hidden"', "tls.client_cert_data in temporal.toml is set and tls.client_key_data in"),
        ('tls.server_ca_cert_data = "hidden"', "tls.server_ca_cert_data in temporal.toml: there is no certificate"),
    ],
)
async def test_an_error_in_the_file_is_reported_by_place_and_reason(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "temporal.toml").write_text(f"[profile.default]\n{line}\n")

    await refused(says)


BEGIN, END = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"TLS": "banana"}, "TEMPORAL_TLS is not valid: expected true or false"),
        ({"TLS": "no"}, "TEMPORAL_TLS is not valid"),
        ({"TLS": " "}, "TEMPORAL_TLS is not valid"),
        ({"TLS_SERVER_CA_CERT_PATH": "/no/ca.pem"}, "TEMPORAL_TLS_SERVER_CA_CERT_PATH: /no/ca.pem: .*No such file"),
        ({"TLS_SERVER_CA_CERT_PATH": "/"}, "TEMPORAL_TLS_SERVER_CA_CERT_PATH: /: .*Is a directory"),
        ({"TLS_SERVER_CA_CERT_PATH": f"{BEGIN}hidden\n{END}"}, "^TEMPORAL_TLS_SERVER_CA_CERT_PATH: the file cannot"),
        ({"TLS_SERVER_CA_CERT_DATA": "hidden"}, "TEMPORAL_TLS_SERVER_CA_CERT_DATA: there is no certificate in it"),
        ({"TLS_SERVER_CA_CERT_DATA": f"{BEGIN}hidden\n{END}"}, "there is no certificate in it"),
        ({"TLS_CLIENT_CERT_PATH": "/no/c.pem"}, "TEMPORAL_TLS_CLIENT_CERT_PATH: /no/c.pem: the file cannot be read"),
        ({"TLS_CLIENT_KEY_PATH": "/hidden"}, "^TEMPORAL_TLS_CLIENT_KEY_PATH: the file cannot be read"),
        ({"TLS_CLIENT_CERT_DATA": "hidden"}, "TEMPORAL_TLS_CLIENT_CERT_DATA is set and TEMPORAL_TLS_CLIENT_KEY_DATA"),
        ({"TLS_CLIENT_KEY_PATH": __file__}, "CLIENT_KEY_PATH is set and TEMPORAL_TLS_CLIENT_CERT_PATH is not"),
        (
            {"ADDRESS": "https://127.0.0.1:1"},
            "TEMPORAL_ADDRESS.* expected host:port .* without .*https://; TEMPORAL_TLS=true",
        ),
        ({"ADDRESS": "http://127.0.0.1:1/"}, "TEMPORAL_ADDRESS.* expected host:port"),
    ],
)
async def test_a_variable_that_is_not_valid_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"TEMPORAL_{name}", value)

    await refused(says)


async def test_an_empty_variable_is_as_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLS", "TLS_SERVER_CA_CERT_PATH", "TLS_CLIENT_CERT_PATH", "NAMESPACE", "API_KEY"):
        monkeypatch.setenv(f"TEMPORAL_{name}", "")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")

    await refused("No Temporal server answers at 127.0.0.1:1")


@pytest.mark.parametrize("tls", ["TEMPORAL_TLS", None])
async def test_a_server_that_accepts_and_stays_silent_is_told_from_one_that_is_not_reached(tls: str | None) -> None:
    async with listening(stay_silent) as silent:
        problem = await connection_problem(Attempt(silent, tls, False, False), "Timeout expired")
    assert "accepts connections and does not answer" in problem

    problem = await connection_problem(Attempt(f"127.0.0.1:{lasting_port()}", tls, False, False), "Timeout expired")
    assert "No server answers at 127.0.0.1" in problem


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


@pytest.mark.parametrize(
    ("address", "ui"),
    [
        ("localhost:7233", "http://localhost:8233"),
        ("127.0.0.1:40001", "http://127.0.0.1:41001"),
        ("[::1]:7233", "http://[::1]:8233"),
        ("shop.a1b2c.tmprl.cloud:7233", "https://cloud.temporal.io"),
        ("eu-west-1.aws.api.temporal.io:7233", "https://cloud.temporal.io"),
        ("temporal.internal:7233", None),
        ("tmprl.cloud.example:7233", None),
    ],
)
def test_the_web_ui_is_known_of_cloud_and_of_development_servers(address: str, ui: str | None) -> None:
    assert web_ui_of(address) == ui


def test_the_address_of_a_run_has_its_ids_escaped() -> None:
    url = run_url("https://ui.example", "a b", "x/../y?<z>", "1")

    assert url == "https://ui.example/namespaces/a%20b/workflows/x%2F..%2Fy%3F%3Cz%3E/1/history"
