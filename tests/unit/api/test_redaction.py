"""Redaction of a key in a text from outside, in the spellings that a gateway may give it."""

import html
import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from message_batches.api.keys import ApiKeys
from message_batches.api.network import Network, Proxy
from message_batches.api.redaction import MAX_TEXT, REDACTED, UNREADABLE, redact, repeats, shown

KEY = "sk-ant-api03-Qx7_Zr2Kb9-Tm4Wc8Lh1Vd6Np3Ys5Jg0"
SECRETS = (KEY, "x")
OTHER = "sk-ant-of-somebody-else"

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "escaped for JSON": lambda key: "".join(f"\\u{ord(each):04X}" for each in key),
    "escaped for JSON, twice": lambda key: json.dumps("".join(f"\\u{ord(each):04x}" for each in key))[1:-1],
    "some of it escaped": lambda key: key.replace("-", "\\u002d").replace("_", "\\/_"),
    "escaped as bytes": lambda key: "".join(f"\\x{ord(each):02x}" for each in key),
    "escaped in octal": lambda key: "".join(f"\\{ord(each):03o}" for each in key),
    "escaped with braces": lambda key: "".join(f"\\u{{{ord(each):x}}}" for each in key),
    "escaped with eight digits": lambda key: "".join(f"\\U{ord(each):08x}" for each in key),
    "percent-encoded": lambda key: "".join(f"%{ord(each):02X}" for each in key),
    "percent-encoded, in small letters, thrice": lambda key: quote(quote("".join(f"%{ord(each):02x}" for each in key))),
    "percent-encoded as %u": lambda key: "".join(f"%u{ord(each):04x}" for each in key),
    "as decimal entities": lambda key: "".join(f"&#{ord(each)};" for each in key),
    "as hexadecimal entities": lambda key: "".join(f"&#X{ord(each):x};" for each in key),
    "as entities of entities": lambda key: html.escape("".join(f"&#{ord(each)};" for each in key)),
    "in base64": lambda key: b64encode(key.encode()).decode(),
    "in base64 for URLs, with a user": lambda key: urlsafe_b64encode(f"key:{key}".encode()).decode(),
    "in base64 in an object": lambda key: b64encode(json.dumps({"a": key, "b": 1}).encode()).decode(),
    "in base64 of UTF-16": lambda key: b64encode(key.encode("utf-16")).decode(),
    "in base64, escaped": lambda key: quote(b64encode(f"x{key}y".encode()).decode(), safe=""),
    "in UTF-7, all of it": lambda key: f"+{b64encode(key.encode('utf-16-be')).decode().rstrip('=')}-",
    "in hexadecimal": lambda key: key.encode().hex(),
    "in hexadecimal, with colons": lambda key: key.encode().hex(":").upper(),
    "with spaces": " ".join,
    "with line feeds": lambda key: "\n".join(key[at : at + 3] for at in range(0, len(key), 3)),
    "with invisible characters": "\u200b\u2060\ufeff\u00ad".join,
    "with characters that turn it around": lambda key: f"\u202e{key[:20]}\u202c{key[20:]}",
    "with combining characters": "\u0301\ufe0f".join,
    "with control characters": "\x00\x1b[0m".join,
    "with quotes and pluses": lambda key: '" + "'.join(key[at : at + 4] for at in range(0, len(key), 4)),
    "in wide letters": lambda key: "".join(chr(ord(each) + 0xFEE0) for each in key),
    "without its dashes": lambda key: key.replace("-", "").replace("_", ""),
    "its first half": lambda key: key[:24],
    "its second half": lambda key: key[24:],
    "all but ten of it": lambda key: key[:-10],
    "twice": lambda key: key + key,
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("before", ["", "Received API key: '", "x" * 470, "é" * 470])
def test_a_key_is_removed_in_every_spelling(spell: Callable[[str], str], before: str) -> None:
    spelled = spell(KEY)
    for text in (f"{before}{spelled}", f"{before}{spelled}' is unknown", f"{before}{spelled}.{OTHER}"):
        said = shown(text, SECRETS, 500)

        assert REDACTED[:5] in said
        assert spelled[12:60] not in said
        assert "Qx7" not in said
        assert len(said) <= 500
        assert said.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "Your credit balance is too low to access the Anthropic API.",
        "messages: at least one message is required & more; 100% of \\x and %zz and &#xFFFFFFFF; and \\U99999999",
        "x is not a key",
        OTHER,
        "sk-ant-",
        "",
        "%" * 1000,
        "größer als 你好",
    ],
)
def test_another_text_stays_as_it_is(text: str) -> None:
    assert shown(text, SECRETS, MAX_TEXT) == text


@pytest.mark.parametrize("said", ["gateway:a-long-password", "A-Long-Password", "Basic {}", "{}"])
def test_a_login_in_a_header_is_removed_as_it_is_sent_and_as_it_is_meant(said: str) -> None:
    login = b64encode(b"gateway:a-long-password").decode()

    assert "assword" not in redact(said.format(login), [f"Basic {login}"])
    assert login[:16] not in redact(said.format(login), [f"Basic {login}"])


def test_the_text_around_a_key_stays() -> None:
    assert shown(f"a%20{KEY} b", SECRETS, 100) == f"a%20{REDACTED} b"
    assert shown(f"key: {' '.join(KEY)} & c", SECRETS, 100) == f"key: {REDACTED} & c"


@pytest.mark.parametrize(
    ("part", "secret"), [("sk-ant-api03-Qx7_Z", KEY), ("message-batch", "message-batches-1"), ("x", "x")]
)
def test_a_word_that_a_key_shares_with_a_text_stays(part: str, secret: str) -> None:
    assert redact(f"{part} {part}", [secret]) == f"{part} {part}"


@pytest.mark.parametrize(
    "each", ["%25", "&amp;", "\\u005c", "%", "&", "&a", "\\", "\x1b[", "\x1b[0", "\u0301", "\ufdfa", KEY, KEY[:12], "a"]
)
def test_redaction_takes_time_by_the_length_of_a_text(each: str) -> None:
    def seconds(size: int) -> float:
        text = (each * size)[:size]
        began = time.process_time()
        redact(text, SECRETS)
        return time.process_time() - began

    seconds(1000)
    quarter, whole = (min(seconds(size) for _ in range(3)) for size in (10_000, 40_000))

    assert whole < 10 * quarter + 0.05


def test_a_text_with_escapes_in_escapes_without_end_is_not_shown() -> None:
    text = "".join(f"%{ord(each):02x}" for each in KEY)
    for _ in range(4):
        text = text.replace("%", "%25")

    assert redact(f"no {text}", SECRETS) == UNREADABLE
    assert not repeats(text, SECRETS), "and no answer of a model is taken for a key's"


def test_what_one_key_has_told_a_host_is_hidden_from_what_it_says_to_another() -> None:
    token, cookie = "t" + OTHER[::-1], "Xy7-session-0042"
    keys = ApiKeys(
        {name: SecretStr(f"{KEY}-{name}") for name in ("a", "b", "c")},
        base_urls={"a": "https://gateway/a", "b": "https://gateway/b", "c": "https://other"},
        headers={"b": {"x-auth": SecretStr(f"Bearer {token}"), "cookie": SecretStr(f"a=1; id={cookie}")}},
    )

    assert {f"{KEY}-a", f"{KEY}-b", token, cookie} <= set(keys.hidden("a"))
    assert keys.hidden("c") == (f"{KEY}-c",)


def test_a_proxys_password_is_hidden() -> None:
    url = SecretStr("http://user:p%40ss-word-0001@proxy:3128")

    assert Network(proxies={"http": Proxy("HTTP_PROXY", url)}).passwords == ("p@ss-word-0001",)


def test_a_long_text_without_a_key_costs_little() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 6_000
    began = time.process_time()

    assert redact(text, SECRETS) == text
    assert time.process_time() - began < 0.1
