"""The content of requests: one sha256 for each, however they are written, and another one for any other."""

import hashlib

import pytest

from message_batches.requests.content import ContentHash


def content(*lines: str) -> str:
    digest = ContentHash()
    for line in lines:
        digest.add(line.encode())
    return digest.hexdigest()


SAME = {
    "blanks": ['{"a":[1,2],"b":{"c":"d e"}}', '{ "a" : [ 1 , 2 ] ,\t"b": {"c": "d e"} }'],
    "order of names": ['{"a":1,"b":{"c":2,"d":3}}', '{"b":{"d":3,"c":2},"a":1}'],
    "order of names beyond 16 bits": ['{"\uffff":1,"\U00010000":2,"z":3}', '{"z":3,"\U00010000":2,"\uffff":1}'],
    "escapes": ['["a/Bé😀\\n"]', '["\\u0061\\/\\u0042\\u00e9\\uD83D\\ude00\\u000a"]'],
    "escaped colons": ['{"a:":":"}', '{"a\\u003a":"\\u003A"}'],
    "escaped names": ['{"max_tokens":1}', '{"max\\u005ftokens":1}'],
    "whole numbers": ["[1,100,0,-7]", "[1.0,1e2,-0.0,-70E-1]", "[1.000,1E+2,-0,-7.0]"],
    "fractions": ["[0.5,1.1,1e-7]", "[5e-1,1.10,0.0000001]"],
    "large numbers": ["[1000000000000000000000000000000]", "[1e30]", "[1.0E+30]"],
    "doubles": ["[333333333.33333329]", "[333333333.3333333]"],
    "a spelling that is longer, and one that is shorter": ['{"a":1e20,"b":1.000}', '{"b":1,"a":100000000000000000000}'],
}

APART = {
    "order of items": ["[1,2]", "[2,1]"],
    "text and number": ['["1"]', "[1]", '["1.0"]'],
    "normalization": ['["\u00e9"]', '["e\u0301"]'],
    "whole numbers beyond doubles": ["[9007199254740992]", "[9007199254740993]", "[9007199254740994.0]"],
    "large whole numbers": [
        "[1000000000000000000000000000000]",
        "[1000000000000000019884624838656]",
        "[1000000000000000000000000000001]",
        "[100000000000000000000000000000]",
    ],
    "numbers beyond all bounds": [
        "[1e400]",
        "[1e401]",
        "[-1e400]",
        "[1e99999999999999999999]",
        '["1e400"]',
        "[1e-400]",
        "[1e-401]",
        "[0]",
    ],
    "very long numbers": [f"[1{'0' * 5000}]", f"[1{'0' * 5001}]", f"[2{'0' * 5000}]"],
    "names twice": ['{"a":1,"a":2}', '{"a":2,"a":1}', '{"a":2}', '{"a":1}', '{"a":1,"b":2}'],
    "names twice, one escaped": ['{"a":1,"\\u0061":2}', '{"a":2}', '{"\\u0061":2}{'],
    "names twice, beside an escape": [
        '{"x":"\\u00e9","a":1,"a":2}',
        '{"x":"\\u00e9","a":2}',
        '{"x":"\\u00e9","a":2,"a":2}',
        '{"x":"\\u00e9",  "a":22, "a":2}',
    ],
    "names twice, beside an escape and what is none": ['{"x":"é\\u00e9","a":1,"a":2}', '{"x":"éé","a":2}'],
    "names twice, beside a number": ['{"x":1e-7,"y":"\\u00e9","a":1,"a":2}', '{"x":1e-7,"y":"é","a":2}'],
    "names twice, lengthened by a number": ['{"a":1e20,"a":2}', '{"a":2}', '{"a":2,"b":1e20}'],
    "names twice, beside an escaped colon": [
        '{"x":"\\u003a","a":1,"a":2}',
        '{"x":"\\u003A","a":1,"a":2}',
        '{"x":":","a":1,"a":2}',
        '{"x":":","a":2}',
    ],
    "halves of surrogate pairs": ['["\\ud83d"]', '["\\ud83e"]', '["\ufffd"]', '["?"]'],
    "empty values": ['{"a":null}', "{}", '{"a":{}}', '{"a":[]}', '{"a":""}', '{"a":false}', '{"a":0}'],
    "deep": ["[" * 3000 + "]" * 3000, "[" * 3001 + "]" * 3001],
}


@pytest.mark.parametrize("lines", SAME.values(), ids=SAME)
def test_the_same_content_has_one_hash(lines: list[str]) -> None:
    assert len({content(line) for line in lines}) == 1


@pytest.mark.parametrize("lines", APART.values(), ids=APART)
def test_another_content_has_another_hash(lines: list[str]) -> None:
    assert len({content(line) for line in lines}) == len(lines)


def test_requests_count_in_their_order_and_each_by_itself() -> None:
    assert content("[1]", "[2]") != content("[2]", "[1]")
    assert len({content("[1]"), content("[1]", "[1]"), content("[1,1]"), content()}) == 4


def test_the_hash_is_that_of_canonical_json_and_stays_what_it_is() -> None:
    """The example of RFC 8785: with a hash that changes, known content would be paid for again."""
    written = r"""{"numbers": [333333333.33333329, 4.50, 2e-3, 1E-7, 150e-12, 5e-324],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]}""".replace("\n", " ")
    numbers = "[333333333.3333333,4.5,0.002,1e-7,1.5e-10,5e-324]"
    string = r""""€$\u000f\nA'B\"\\\\\"/""" + '"'
    canonical = f'{{"literals":[null,true,false],"numbers":{numbers},"string":{string}}}'

    assert content(written) == hashlib.sha256(f"{canonical}\n".encode()).hexdigest()


def test_values_are_returned() -> None:
    assert ContentHash().add(b'{"a": 1.0, "b": 0.5}') == {"a": 1, "b": 0.5}
    assert ContentHash().add(b'["\\ud83d"]') == ["\ud83d"]
    assert ContentHash().add(b"nonsense") is None
