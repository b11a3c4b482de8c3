"""The environment, read once: the settings from it, and the errors for invalid variables."""

import errno
import os
import re
import traceback
from decimal import Decimal
from pathlib import Path

import pytest

from message_batches.errors import why
from message_batches.settings import InvalidSettings, Settings, codec_token, display_command, encryption_keys
from tests.harness.encryption import key, written
from tests.harness.tls import make_ca


def test_an_empty_environment_has_defaults_and_no_key() -> None:
    settings = Settings.from_environment({"XDG_DATA_HOME": "/data"})

    assert settings.base_url == "https://api.anthropic.com"
    assert settings.store_url == "file:///data/message-batches"
    assert settings.task_queue == "message-batches"
    assert settings.keys.names == ()


def test_a_limit_on_the_cost_is_an_amount() -> None:
    assert Settings.from_environment({"MESSAGE_BATCHES_MAX_COST": " 25.50 "}).max_cost == Decimal("25.50")
    assert Settings.from_environment({"MESSAGE_BATCHES_MAX_COST": ""}).max_cost is None


def test_keys_are_named_by_their_variables() -> None:
    settings = Settings.from_environment(
        {"ANTHROPIC_API_KEY": "sk-1\n", "ANTHROPIC_API_KEY_TEAM_A": "sk-2", "ANTHROPIC_API_KEY_EMPTY": " "}
    )

    assert settings.keys.names == ("default", "team-a")
    assert settings.keys.secret("default").get_secret_value() == "sk-1"
    assert "sk-" not in repr(settings)


def test_keys_are_files_of_a_directory_and_variables_go_before_them(tmp_path: Path) -> None:
    (tmp_path / "default").write_text("sk-file\n")
    (tmp_path / "team-b").write_text("sk-b\n")
    (tmp_path / "README.txt").write_text("not a key")

    settings = Settings.from_environment({"MESSAGE_BATCHES_SECRETS": str(tmp_path), "ANTHROPIC_API_KEY": "sk-variable"})

    assert settings.keys.names == ("default", "team-b")
    assert settings.keys.secret("default").get_secret_value() == "sk-variable"


def test_a_file_beside_the_keys_that_is_no_keys_is_named_but_not_repeated_where_it_may_be_one(tmp_path: Path) -> None:
    for name in ("default.txt", "Team_A", "team-b~", "sk-ant-api03-hidden", "a\u202eb", ".default.swp", "eu"):
        (tmp_path / name).write_text("sk-1\n")
    (tmp_path / "default").mkdir()

    keys = Settings.from_environment({"MESSAGE_BATCHES_SECRETS": str(tmp_path)}).keys

    assert keys.names == ("eu",)
    assert keys.other_files == ("Team_A", "another", "default", "default.txt", "another", "team-b~")
    assert "Team_A" in str(keys)


def test_a_file_without_the_rights_is_told_with_the_user_who_lacks_them() -> None:
    assert str(os.geteuid()) in why(PermissionError(errno.EACCES, "Permission denied"))
    assert why(OSError(errno.EIO, "Input/output error")) == "Input/output error"


def test_the_command_shown_to_users_can_be_configured() -> None:
    assert display_command({"MESSAGE_BATCHES_COMMAND": "docker compose run --rm starter"}) == (
        "docker compose run --rm starter"
    )
    assert display_command({"MESSAGE_BATCHES_COMMAND": " "}) is None
    assert display_command({}) is None


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"ANTHROPIC_BASE_URL": "api.anthropic.com"}, "ANTHROPIC_BASE_URL"),
        ({"MESSAGE_BATCHES_SCRATCH": "/nowhere/at/all"}, "MESSAGE_BATCHES_SCRATCH"),
        ({"MESSAGE_BATCHES_SECRETS": "/nowhere/at/all"}, "MESSAGE_BATCHES_SECRETS"),
        ({"MESSAGE_BATCHES_MAX_COST": "a lot"}, "MESSAGE_BATCHES_MAX_COST"),
        ({"MESSAGE_BATCHES_MAX_COST": "0"}, "MESSAGE_BATCHES_MAX_COST"),
        ({"MESSAGE_BATCHES_MAX_COST": "NaN"}, "MESSAGE_BATCHES_MAX_COST"),
        ({"MESSAGE_BATCHES_MAX_COST": "1e999"}, "MESSAGE_BATCHES_MAX_COST"),
        ({"ANTHROPIC_API_KEY": "two words"}, "ANTHROPIC_API_KEY"),
        ({"ANTHROPIC_API_KEY_A": "sk-ü"}, "ANTHROPIC_API_KEY_A"),
    ],
)
def test_an_invalid_variable_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSettings, match=says) as caught:
        Settings.from_environment(environment)

    assert "two words" not in str(caught.value)


@pytest.mark.parametrize(
    "variable",
    [
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_BASE_URL_TEAM_A",
        "MESSAGE_BATCHES_SECRETS",
        "MESSAGE_BATCHES_SCRATCH",
        "MESSAGE_BATCHES_BUILD_ID",
        "MESSAGE_BATCHES_DEPLOYMENT",
    ],
)
def test_a_value_in_the_wrong_variable_is_not_repeated(variable: str) -> None:
    for value in ("sk-ant-api03/hidden", "/no/such/hidden", "hidden\0", "hidden " * 1000):
        with pytest.raises(InvalidSettings, match=rf"{variable}\b") as caught:
            Settings.from_environment({"ANTHROPIC_API_KEY_TEAM_A": "sk-1", variable: value})
        assert "hidden" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("variable", ["ANTHROPIC_BASE_URL", "ANTHROPIC_BASE_URL_TEAM_A"])
@pytest.mark.parametrize(
    "base_url",
    [
        "https://user:SECRET@gateway",
        "https://SECRET@gateway/path",
        "https://user:SEC/RET@gateway",
        "https://gateway/path?key=SECRET",
        "https://gateway/path#SECRET",
        "https://gateway:SECRET",
    ],
)
def test_a_base_url_with_a_secret_in_it_is_refused_and_not_repeated(variable: str, base_url: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{variable} ") as caught:
        Settings.from_environment({"ANTHROPIC_API_KEY_TEAM_A": "sk-1", variable: base_url})

    assert "SEC" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:8080", "https://[::1]:8443/api", "https://gw.example/a/b", "http://emulator"]
)
def test_a_base_url_may_have_a_port_and_a_path(base_url: str) -> None:
    assert Settings.from_environment({"ANTHROPIC_BASE_URL": base_url}).base_url == base_url


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"])
@pytest.mark.parametrize(
    "value",
    [
        "http://",
        "http://me:hidden@",
        "http://proxy:hidden",
        "http://proxy:0",
        "http://proxy:99999",
        "ftp://me:hidden@proxy",
        "socks4://hidden:1",
        "http://proxy/hidden",
        "http://proxy?hidden",
        "http://[hidden",
        "hidden hidden",
        "http://hidden\n:1",
        "http://hïdden",
    ],
)
def test_an_invalid_proxy_is_refused_and_not_repeated(variable: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=rf"^{variable} ") as caught:
        Settings.from_environment({variable: value})

    assert "hidden" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "socks5h://me:hidden@proxy"])
def test_a_socks_proxy_is_refused_by_name_without_the_extra(value: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^ALL_PROXY names a SOCKS proxy.*message-batches\[socks\]") as caught:
        Settings.from_environment({"ALL_PROXY": value})

    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "ignored"),
    [
        ("/var/run/docker.sock,10.0.0.0/8", "'/var/run/docker.sock'"),
        ("example.com:99999", "'example.com:99999'"),
        ("a,me:hidden@c", "'c'"),
        ("10.0.0.0/8888;10.1.2.3/33", "'10.0.0.0/8888', '10.1.2.3/33'"),
        ("a\x1b[31m.example", r"'a\x1b[31m.example'"),
        ("<local>;.", "'.'"),
    ],
)
def test_an_entry_that_names_no_host_is_ignored_and_said(value: str, ignored: str) -> None:
    network = Settings.from_environment({"NO_PROXY": value, "ALL_PROXY": "http://proxy:1"}).network

    assert network.lines[-1] == f"ignores {ignored} in NO_PROXY: not a host, a domain or a network"
    assert "hidden" not in " ".join(network.lines)


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")

    for variable, value in (
        ("SSL_CERT_FILE", "/no/such/hidden"),
        ("SSL_CERT_FILE", str(tmp_path)),
        ("SSL_CERT_FILE", str(tmp_path / "empty.pem")),
        ("SSL_CERT_FILE", "hid\0den"),
        ("SSL_CERT_DIR", "/no/such/hidden"),
        ("SSL_CERT_DIR", f"{tmp_path}:/no/such/hidden"),
        ("SSL_CERT_DIR", "hid\0den"),
    ):
        with pytest.raises(InvalidSettings, match=rf"^{variable} is not valid") as caught:
            Settings.from_environment({variable: value})
        assert "hidden" not in str(caught.value)


def test_a_network_is_described_without_passwords(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    settings = Settings.from_environment(
        {
            "HTTPS_PROXY": "http://me:hidden@proxy.example:3128",
            "NO_PROXY": "s3.example,10.0.0.0/8",
            "SSL_CERT_FILE": str(ca.cert_file),
            "SSL_CERT_DIR": str(tmp_path),
        }
    )

    assert settings.network.lines == [
        "proxy  http://***@proxy.example:3128 (HTTPS_PROXY) for https",
        "direct s3.example, 10.0.0.0/8 (NO_PROXY)",
        f"trusts {ca.cert_file} (SSL_CERT_FILE)",
        f"trusts {tmp_path} (SSL_CERT_DIR)",
    ]
    assert "hidden" not in repr(settings)
    assert Settings.from_environment({"NO_PROXY": "*"}).network.lines == []


LOOPBACK = "localhost,127.0.0.0/8,::1,0.0.0.0,::"


@pytest.mark.parametrize(
    ("environment", "proxy", "excluded"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*.a.b;c:443 d:1"}, "http://p:1", f"{LOOPBACK},a.b,c"),
        ({"HTTP_PROXY": "http://p:1"}, "http://p:1", "*,0.0.0.0/0,::/0"),
        (
            {"HTTP_PROXY": "http://p:1", "AWS_ENDPOINT_URL": "http://minio:9000"},
            "http://p:1",
            LOOPBACK,
        ),
        (
            {"ALL_PROXY": "http://p:1", "NO_PROXY": "<local>", "AWS_ENDPOINT_URL": "http://minio:9000"},
            "http://p:1",
            "*,0.0.0.0/0,::/0",
        ),
        (
            {"ALL_PROXY": "http://p:1", "NO_PROXY": "minio:9001", "AWS_ENDPOINT_URL": "http://minio:9000"},
            "http://p:1",
            LOOPBACK,
        ),
    ],
)
def test_a_bucket_is_reached_as_the_api_is(
    environment: dict[str, str], proxy: str | None, excluded: str | None
) -> None:
    options = Settings.from_environment(environment).network.store_options

    assert (options.get("proxy_url"), options.get("proxy_excludes")) == (proxy, excluded)


@pytest.mark.parametrize(
    "environment",
    [
        {"ANTHROPIC_CUSTOM_HEADERS": "X-A: 1"},
        {"ANTHROPIC_WORKSPACE_ID_TEAM_A": "wrkspc_1"},
        {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"},
        {"ANTHROPIC_API_KEY": "two words"},
        {"ANTHROPIC_BASE_URL": "gateway"},
        {"MESSAGE_BATCHES_SECRETS": "/nowhere/at/all"},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"SSL_CERT_FILE": "/nowhere/at/all"},
    ],
    ids=" ".join,
)
def test_what_only_calls_of_the_api_need_is_refused_where_they_are_made(environment: dict[str, str]) -> None:
    settings = Settings.from_environment(environment, calls_api=False)

    assert settings.store_options == {}
    with pytest.raises(InvalidSettings):
        _ = settings.keys, settings.base_url, settings.network
    with pytest.raises(InvalidSettings):
        Settings.from_environment(environment)


def test_a_key_file_that_is_not_text_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "default").write_bytes(b"SECRET\xff")

    with pytest.raises(InvalidSettings, match=re.escape(str(tmp_path / "default"))) as caught:
        Settings.from_environment({"MESSAGE_BATCHES_SECRETS": str(tmp_path)})

    assert "SECRET" not in str(caught.value)


def test_a_worker_has_no_build_unless_configured() -> None:
    assert str(Settings.from_environment({}).release) == ""

    release = Settings.from_environment({"MESSAGE_BATCHES_BUILD_ID": "1.4.0"}).release

    assert str(release) == "message-batches:1.4.0"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MESSAGE_BATCHES_BUILD_ID", "1 4"),
        ("MESSAGE_BATCHES_BUILD_ID", "x" * 101),
        ("MESSAGE_BATCHES_DEPLOYMENT", "batches.eu"),
    ],
)
def test_a_release_that_temporal_would_refuse_is_refused(variable: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{variable} "):
        Settings.from_environment({variable: value})


def test_a_key_may_have_a_base_url_of_its_own() -> None:
    settings = Settings.from_environment(
        {
            "ANTHROPIC_API_KEY": "sk-1",
            "ANTHROPIC_API_KEY_EU": "sk-2",
            "ANTHROPIC_BASE_URL_EU": "https://eu.example/api/",
        }
    )

    assert settings.base_url == "https://api.anthropic.com"
    assert settings.keys.base_urls == {"eu": "https://eu.example/api"}
    assert str(settings.keys) == "default, eu (https://eu.example/api)"


def test_a_process_without_keys_says_what_gives_one() -> None:
    said = str(Settings.from_environment({}).keys)

    assert said.startswith("none: set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN")


def test_a_base_url_for_a_key_that_is_not_held_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"ANTHROPIC_BASE_URL_TEAM_A .*ANTHROPIC_API_KEY_TEAM_A"):
        Settings.from_environment({"ANTHROPIC_BASE_URL_TEAM_A": "https://a.example"})


A, B = key("a"), key("b")
SECRET = written([A]).partition(":")[2]


def test_without_encryption_keys_nothing_is_encrypted() -> None:
    assert encryption_keys({}) == ()
    assert encryption_keys({"MESSAGE_BATCHES_ENCRYPTION_KEYS": " ", "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE": ""}) == ()


def test_encryption_keys_are_read_from_the_environment_or_a_file_in_order(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# since November\n{written([B])}\n\n  {written([A])} \n")

    assert encryption_keys({"MESSAGE_BATCHES_ENCRYPTION_KEYS": written([A, B])}) == (A, B)
    assert encryption_keys({"MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE": str(file)}) == (B, A)
    assert SECRET not in repr((A, B))
    assert str(A.secret) not in repr((A, B))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (SECRET, "entry 1"),
        (f"{SECRET}:a", "entry 1"),
        (f"{SECRET.rstrip('=')}:a", "entry 1"),
        (f"a b:{SECRET}", "entry 1"),
        (f"a:{SECRET},b:{SECRET[:-2]}", "entry 2, 'b'"),
        (f"a:{SECRET[:40]}", "30 bytes"),
        (f"a:{SECRET[:-1]}{SECRET}", "entry 1, 'a'"),
        (f"a:{SECRET},a:{SECRET}", "entry 2"),
        ("# nothing but a remark", "no key"),
        (",", "no key"),
    ],
)
def test_an_encryption_key_of_another_form_is_refused_without_its_text(value: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(value)

    for variable, given in (("_KEYS", value), ("_KEYS_FILE", str(file))):
        name = f"MESSAGE_BATCHES_ENCRYPTION{variable}"
        with pytest.raises(InvalidSettings, match=rf"{name}\b") as caught:
            encryption_keys({name: given})
        assert says in str(caught.value)
        assert SECRET[:12] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("file", ["/nowhere/at/all", "/", written([A])])
def test_a_keys_file_that_cannot_be_read_is_not_repeated_it_may_be_a_key(file: str) -> None:
    with pytest.raises(InvalidSettings, match="MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE ") as caught:
        encryption_keys({"MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE": file})

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_encryption_keys_in_two_places_are_refused() -> None:
    both = {"MESSAGE_BATCHES_ENCRYPTION_KEYS": written([A]), "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE": "/keys"}

    with pytest.raises(InvalidSettings, match=r"_KEYS_FILE .*_KEYS "):
        encryption_keys(both)


def test_the_token_of_the_codec_server_is_valid_or_not_set() -> None:
    token = codec_token({"MESSAGE_BATCHES_CODEC_TOKEN": " 0123456789abcdef \n"})

    assert codec_token({}) is None
    assert token
    assert token.get_secret_value() == "0123456789abcdef"
    for wrong in ("short", "with a space in it", "0123456789abcdeü"):
        with pytest.raises(InvalidSettings, match="MESSAGE_BATCHES_CODEC_TOKEN ") as caught:
            codec_token({"MESSAGE_BATCHES_CODEC_TOKEN": wrong})
        assert wrong not in str(caught.value)


def test_the_address_of_the_web_ui_is_one_of_the_web() -> None:
    assert Settings.from_environment({}, calls_api=False).ui_url is None
    given = Settings.from_environment({"MESSAGE_BATCHES_UI_URL": "https://ui.example/ "}, calls_api=False)
    assert given.ui_url == "https://ui.example"
    with pytest.raises(InvalidSettings, match="MESSAGE_BATCHES_UI_URL"):
        _ = Settings.from_environment({"MESSAGE_BATCHES_UI_URL": "javascript:alert(1)"}, calls_api=False).ui_url
