"""The webhooks of an environment: names, secrets, formats; which addresses may be called."""

import base64
import ipaddress
from pathlib import Path

import pytest

from message_batches.settings import InvalidSettings, Settings
from message_batches.webhooks.endpoints import Endpoints, WebhookFormat, read_endpoints
from tests.harness.receiver import OLD_SECRET, SECRET

NAME = "MESSAGE_BATCHES_WEBHOOK_TEAM_A"
URL = "https://hooks.example.com/T01/secret-part"


def test_a_webhook_has_a_name_an_address_and_secrets() -> None:
    found = read_endpoints({NAME: f" {URL} ", f"{NAME}_SECRET": f"{SECRET} {OLD_SECRET}", "OTHER": "x"})

    (endpoint,) = found.by_name.values()
    assert (endpoint.name, endpoint.host, endpoint.format) == ("team-a", "hooks.example.com", WebhookFormat.STANDARD)
    assert [secret.get_secret_value() for secret in endpoint.secrets] == [SECRET, OLD_SECRET]
    assert str(found) == "team-a (hooks.example.com)"


def test_a_chat_needs_no_secret() -> None:
    found = read_endpoints({NAME: URL, f"{NAME}_FORMAT": "slack"})

    assert str(found) == "team-a (hooks.example.com, slack)"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({NAME: "hooks.example.com"}, f"{NAME} is not valid"),
        ({NAME: "ftp://hooks.example.com"}, f"{NAME} is not valid"),
        ({NAME: "https://"}, f"{NAME} is not valid"),
        ({NAME: "https://hooks.example.com:70000"}, f"{NAME} is not valid"),
        ({NAME: "https://[::1"}, f"{NAME} is not valid"),
        ({NAME: "https://user:secret-part@hooks.example.com"}, "without user and password"),
        ({NAME: ""}, f"set {NAME}"),
        ({f"{NAME}_SECRET": ""}, f"set {NAME}_SECRET"),
        ({f"{NAME}_SECRET": "secret-part"}, f"{NAME}_SECRET is not valid"),
        ({f"{NAME}_SECRET": "whsec_"}, f"{NAME}_SECRET is not valid"),
        ({f"{NAME}_SECRET": f"whsec_{base64.b64encode(b'secret-part').decode()}"}, f"{NAME}_SECRET is not valid"),
        ({f"{NAME}_FORMAT": "secret-part"}, f"{NAME}_FORMAT is not valid: expected standard or slack"),
        ({f"{NAME}{'_X' * 20}": URL}, "at most 32"),
        ({"MESSAGE_BATCHES_WEBHOOKS_ALLOW": "secret-part"}, "MESSAGE_BATCHES_WEBHOOKS_ALLOW is not valid"),
        ({"MESSAGE_BATCHES_WEBHOOKS_ALLOW": "10.0.0.1/8"}, "MESSAGE_BATCHES_WEBHOOKS_ALLOW is not valid"),
    ],
)
def test_an_invalid_variable_is_named_and_its_value_not_repeated(changed: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_environment({"HOME": "/", NAME: URL, f"{NAME}_SECRET": SECRET} | changed)

    assert says in str(caught.value)
    assert "secret-part" not in str(caught.value)


def test_the_directory_of_secrets_has_webhooks_too_and_variables_go_first(tmp_path: Path) -> None:
    files = {"ops.webhook-url": f"{URL}\n", "ops.webhook-secret": SECRET, "team-a.webhook-url": "https://elsewhere"}
    for name, text in {**files, "default": "sk-ant-key", ".hidden.webhook-url": "x"}.items():
        (tmp_path / name).write_text(text)
    settings = Settings.from_environment(
        {"HOME": "/", "MESSAGE_BATCHES_SECRETS": str(tmp_path), NAME: URL, f"{NAME}_FORMAT": "slack"}
    )

    assert str(settings.webhooks) == "ops (hooks.example.com), team-a (hooks.example.com, slack)"
    assert settings.keys.other_files == ()


def test_a_file_of_a_webhook_without_an_address_is_named(tmp_path: Path) -> None:
    (tmp_path / "ops.webhook-secret").write_text("secret-part")

    with pytest.raises(InvalidSettings, match=r"ops\.webhook-secret is set, but not the address") as caught:
        Settings.from_environment({"HOME": "/", "MESSAGE_BATCHES_SECRETS": str(tmp_path)})

    assert "secret-part" not in str(caught.value)


PUBLIC = ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "192.0.2.1", "224.0.0.1", "239.1.1.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1"),
    # Those that some versions of Python take for global.
    *("192.0.0.192", "64:ff9b:1::7f00:1", "fec0::1", "::127.0.0.1", "::ffff:0:127.0.0.1", "5f00::1", "3fff::1"),
    # IPv4 addresses within others.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_called_over_tls_only(address: str) -> None:
    none = Endpoints()

    assert none.allows(ipaddress.ip_address(address), tls=True)
    assert not none.allows(ipaddress.ip_address(address), tls=False)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_any_other_address_is_refused_unless_its_network_is_allowed(address: str) -> None:
    given = ipaddress.ip_address(address)
    own = read_endpoints({"MESSAGE_BATCHES_WEBHOOKS_ALLOW": f"203.0.113.0/24, {address}"})
    others = read_endpoints({"MESSAGE_BATCHES_WEBHOOKS_ALLOW": "203.0.113.0/24 2001:db8::/32"})

    assert not others.allows(given, tls=True)
    assert own.allows(given, tls=True)
    assert own.allows(given, tls=False)


def test_an_allowed_network_of_ipv4_holds_also_for_its_addresses_in_ipv6() -> None:
    allowed = read_endpoints({"MESSAGE_BATCHES_WEBHOOKS_ALLOW": "127.0.0.0/8"})

    assert allowed.allows(ipaddress.ip_address("::ffff:127.0.0.1"), tls=False)
    assert not allowed.allows(ipaddress.ip_address("::1"), tls=True)
