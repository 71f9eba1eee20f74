"""Shapes, filled with what producers and authors of profiles may write."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.shape import JsonText, Shape

NAMES = frozenset({"run_id", "type", "data", "gap"})


def fill(shape: str, data: bytes = b"{}", **known: Any) -> bytes:
    """The shape, filled in."""
    values: dict[str, Callable[[], Any]] = {
        "run_id": lambda: "42",
        "type": lambda: known.get("type"),
        "data": lambda: JsonText(data),
        "gap": lambda: known.get("gap"),
    }
    return Shape(shape, NAMES).fill(values)


# ---- places


@pytest.mark.parametrize(
    ("shape", "data", "filled"),
    [
        ('{"run": $run_id, "data": $data}', b'{"a": 1}', b'{"run":"42","data":{"a": 1}}'),
        ('{"text": $data.text}', b'{"text": "hi"}', b'{"text":"hi"}'),
        ('{"text": $data.text}', b"[1]", b'{"text":null}'),
        ('{"text": $data.text|$run_id|"none"}', b"{}", b'{"text":"42"}'),
        ('{"text": $data.text|"a|b"}', b'{"text": null}', b'{"text":"a|b"}'),
        ('{"n": $data.n|-1.5e3}', b"{}", b'{"n":-1500.0}'),
        ('{"n": $data.n|false}', b'{"n": 0}', b'{"n":0}'),
        ('{"n": $type|null}', b"{}", b'{"n":null}'),
        ("[$run_id, [], {}, 1, true, $data]", b"7", b'["42",[],{},1,true,7]'),
        ("$data", b'{"a": 1}', b'{"a": 1}'),
    ],
)
def test_places_stand_where_values_may(shape: str, data: bytes, filled: bytes) -> None:
    assert fill(shape, data) == filled


def test_in_strings_a_dollar_is_a_dollar() -> None:
    assert fill('{"$data": "$run_id \\" $data", "a": $run_id}') == (
        b'{"$data":"$run_id \\" $data","a":"42"}'
    )


def test_a_place_is_only_asked_for_when_it_is_needed() -> None:
    def never() -> Any:
        raise AssertionError("nobody needs it")

    shape = Shape('{"a": $run_id|$data}', NAMES)
    assert shape.fill({"run_id": lambda: "42", "data": never}) == b'{"a":"42"}'


# ---- members of the data, among those of the shape


@pytest.mark.parametrize(
    ("data", "filled"),
    [
        (b'{"a": 1, "b": [2]}', {"own": "42", "a": 1, "b": [2]}),
        (b'{"own": "not me", "a": null}', {"own": "42", "a": None}),
        (b"{}", {"own": "42"}),
        (b"[1]", {"own": "42", "data": [1]}),
        (b"text", {"own": "42", "data": "text"}),
        (b"null", {"own": "42"}),
        (b"", {"own": "42", "data": ""}),
    ],
)
def test_members_are_taken_in_where_the_object_has_none_of_that_name(
    data: bytes, filled: dict[str, Any]
) -> None:
    assert json.loads(fill('{$data.*, "own": $run_id}', data)) == filled
    del filled["own"]
    alone = json.loads(fill("{$data.*}", data))
    assert {name: value for name, value in alone.items() if name != "own"} == filled


def test_what_is_no_object_does_not_hide_a_member_of_the_same_name() -> None:
    assert fill('{"data": "own", $data.*}', b"text") == b'{"data":"own"}'


def test_the_same_member_twice_is_the_last_one_as_json_readers_have_it() -> None:
    assert fill("{$data.*}", b'{"a": 1, "a": 2}') == b'{"a":2}'
    assert fill("{$data.*}", b'{"a": 1, "a": 12345678901234567890123}') == (
        b'{"a":12345678901234567890123}'
    )


# ---- what producers write


@pytest.mark.parametrize(
    "number", [b"123456789012345678901234567890", b"0.12345678901234567890", b"1e400"]
)
def test_numbers_keep_their_digits(number: bytes) -> None:
    data = b'{"n": %b, "list": [%b]}' % (number, number)
    assert fill('{"d": $data}', data) == b'{"d":%b}' % data
    assert fill('{"d": $data.n}', data) == b'{"d":%b}' % number
    assert fill('{"d": $data.list}', data) == b'{"d":[%b]}' % number
    assert fill("{$data.*}", data) == b'{"n":%b,"list":[%b]}' % (number, number)


@pytest.mark.parametrize("depth", [300, 1100])
def test_deep_nesting_goes_through(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    if depth <= 1000:
        assert fill("{$data.*}", b'{"a": %b}' % deep) == b'{"a":%b}' % deep
        assert fill('{"d": $data.a}', b'{"a": %b}' % deep) == b'{"d":%b}' % deep
    else:
        # Deeper than anything here reads JSON: it is text.
        assert json.loads(fill('{"d": $data}', deep)) == {"d": deep.decode()}


def test_half_a_surrogate_pair_is_json_as_javascript_writes_it() -> None:
    data = b'{"text": "\\ud83d", "n": 1, "list": ["}", {"a": ","}], "\\ude00": 2}'
    assert fill('{"d": $data}', data) == b'{"d":%b}' % data
    assert fill('{"t": $data.text, "n": $data.n}', data) == b'{"t":"\\ud83d","n":1}'
    assert fill("{$data.*}", data) == (b'{"text":"\\ud83d","n":1,"list":["}", {"a": ","}],"?":2}')
    assert fill('{"d": $data}', b'"\\ud83d"') == b'{"d":"\\ud83d"}'
    assert fill("{$data.*}", b'["\\ud83d"]') == b'{"data":["\\ud83d"]}'


@pytest.mark.parametrize(
    "text", ["", " ", "plain", "{", '{"a":1}x', "NaN", '["\\ud83d", NaN]', "\x00", "\ufeff{}"]
)
def test_what_is_not_json_is_a_string(text: str) -> None:
    assert json.loads(fill('{"d": $data, "m": $data.a}', text.encode())) == {"d": text, "m": None}


@given(text=st.text())
def test_any_text_comes_out_as_one_line_that_says_it(text: str) -> None:
    data = text.encode("utf-8", "replace")
    for shape in ('{"d": $data}', "{$data.*}"):
        filled = fill(shape, data)
        assert len(filled.decode().splitlines()) == 1
        json.loads(filled)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    document=JSON, indent=st.sampled_from([None, 1]), ascii_only=st.booleans(), end=st.text("\r\n ")
)
def test_any_json_comes_out_equal(
    document: Any, indent: int | None, ascii_only: bool, end: str
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only) + end
    data = text.replace("\n", "\r\n").encode("utf-8", "replace")
    same = json.loads(data)
    filled = fill('{"d": $data, "a": $data.a}', data)
    assert len(filled.decode().splitlines()) == 1
    assert json.loads(filled)["d"] == same
    if isinstance(same, dict):
        spread = json.loads(fill('{$data.*, "own": 1}', data))
        cleaned = {name: value for name, value in same.items() if name != "own"}
        assert {name: value for name, value in spread.items() if name != "own"} == cleaned
        assert json.loads(filled)["a"] == same.get("a")


def test_line_breaks_of_other_readers_are_escaped() -> None:
    """`requests` splits lines at each of these."""
    data = '{"text": "a\u2028b\u2029c\u0085d"}'.encode()
    filled = fill('{"own": "\u2028", $data.*}', data)
    assert filled == b'{"own":"\\u2028","text":"a\\u2028b\\u2029c\\u0085d"}'


# ---- what authors write


@pytest.mark.parametrize("text", ["\ue000", "\ue0000", "\\ue0000", "0", "1", "", "$", "a\\u0000b"])
def test_no_string_of_the_authors_is_taken_for_a_place(text: str) -> None:
    said = json.loads(f'"{text}"')
    shape = f'{{"{text}": "{text}", "list": ["{text}", $run_id, "{text}"]}}'
    assert json.loads(fill(shape)) == {said: said, "list": [said, "42", said]}


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ("", "no JSON with $places"),
        ("{", "no JSON with $places"),
        ('{"a": 1,}', "trailing comma"),
        ('{"a": $Data}', "no JSON with $places"),
        ('{"a": $data.b.c}', "no JSON with $places"),
        ('{"a": $nothing}', "$nothing is not known here; there are $data, $gap, $run_id, $type"),
        ("{$nothing.*}", "$nothing is not known here"),
        ('{"a": $data.*}', "no JSON with $places"),
        ("[$data.*]", "no JSON with $places"),
        ("{$type: 1}", "a place can't be the name of a member"),
        ('{"a": 1, "a": 2}', "there are two members 'a'"),
        ("{$data.*, $gap.*}", "the members of one other only"),
        ("{$data.*|$gap}", "no alternatives"),
        ('{"a": $gap|$data.*}', "no alternatives"),
        ('{"a": $type|1.2.3}', "1.2.3 is no JSON"),
        ('{"a": $type|"x"|$run_id}', "is never taken"),
        ('{"a": "\\ud800"}', "is no JSON"),
    ],
)
def test_what_is_no_shape_is_refused_in_one_line(shape: str, why: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Shape(shape, NAMES)
    text = str(refusal.value)
    assert why in text
    assert len(text.splitlines()) == 1
