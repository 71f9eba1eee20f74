"""JSON Patch: the examples of RFC 6902, appendix A, and what must not happen to older values."""

from typing import Any

import pytest

from broker.wire.agui.patch import PatchFailed, apply_patch


@pytest.mark.parametrize(
    ("document", "patch", "patched"),
    [
        ({"foo": "bar"}, [("add", "/baz", "qux")], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [("add", "/foo/1", "qux")], {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, [("remove", "/baz")], {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, [("remove", "/foo/1")], {"foo": ["bar", "baz"]}),
        ({"baz": 1, "foo": 2}, [("replace", "/baz", "boo")], {"baz": "boo", "foo": 2}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [("move", "/qux/thud", "/foo/waldo")],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        ({"foo": ["all", "grass", "cows"]}, [("move", "/foo/2", "/foo/1")],
         {"foo": ["all", "cows", "grass"]}),
        ({"foo": [1, "baz"]}, [("test", "/foo/0", 1), ("test", "/foo/1", "baz")],
         {"foo": [1, "baz"]}),
        ({"foo": "bar"}, [("add", "/child", {"grandchild": {}})],
         {"foo": "bar", "child": {"grandchild": {}}}),
        ({"/": 9, "~1": 10}, [("test", "/~01", 10), ("replace", "/~1", 8)], {"/": 8, "~1": 10}),
        ({"foo": ["bar"]}, [("add", "/foo/-", ["abc", "def"])], {"foo": ["bar", ["abc", "def"]]}),
        ({"a": {"b": 1}}, [("copy", "/c", "/a")], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": 1}, [("replace", "", [])], []),
        ({"a": 1}, [("add", "", None)], None),
        ({"a": 1}, [("remove", "")], None),
        ([1, 2], [("add", "/2", 3), ("replace", "/0", 0)], [0, 2, 3]),
        ({"": 1}, [("replace", "/", 2)], {"": 2}),
        ({"n": 1}, [("test", "/n", 1.0)], {"n": 1}),
        ({"a": [{"b": [1]}]}, [("add", "/a/0/b/-", 2)], {"a": [{"b": [1, 2]}]}),
        ({"a": 1}, [], {"a": 1}),
    ],
)  # fmt: skip
def test_what_a_patch_makes(document: Any, patch: list[Any], patched: Any) -> None:
    assert apply_patch(document, [_operation(*each) for each in patch]) == patched


@pytest.mark.parametrize(
    ("document", "patch"),
    [
        ({"foo": "bar"}, [("add", "/baz/bat", "qux")]),
        ({"baz": "qux"}, [("test", "/baz", "bar")]),
        ({"n": 1}, [("test", "/n", True)]),
        ({"n": {"m": [1]}}, [("test", "/n", {"m": [True]})]),
        ({"a": 1}, [("remove", "/b")]),
        ({"a": 1}, [("replace", "/b", 2)]),
        ({"a": [1]}, [("replace", "/a/-", 2)]),
        ({"a": [1]}, [("add", "/a/2", 2)]),
        ({"a": [1]}, [("remove", "/a/01")]),
        ({"a": [1]}, [("remove", "/a/-1")]),
        ({"a": [1]}, [("remove", "/a/x")]),
        ({"a": [1]}, [("remove", "/a/99999999999999999999")]),
        ({"a": {"b": {}}}, [("move", "/a/b", "/a")]),
        ({"a": 1}, [("add", "b", 2)]),
        ({"a": 1}, [("erase", "/a")]),
        ({"a": 1}, [("copy", "/b", "/c")]),
        ("text", [("add", "/b", 1)]),
    ],
)
def test_what_does_not_fit_changes_nothing(document: Any, patch: list[Any]) -> None:
    operations = [_operation("replace", "", document), *(_operation(*each) for each in patch)]
    with pytest.raises(PatchFailed):
        apply_patch(document, operations)


@pytest.mark.parametrize("patch", [None, "text", {}, 7, [7], [{"op": "add", "path": "/a"}]])
def test_what_is_no_patch_is_refused(patch: Any) -> None:
    with pytest.raises(PatchFailed):
        apply_patch({}, patch)


def test_older_values_stay_and_share_what_is_the_same() -> None:
    before = {"large": {"x": [1, 2, 3]}, "small": {"list": [1], "n": 1}}
    after = apply_patch(
        before,
        [
            _operation("add", "/small/list/-", 2),
            _operation("remove", "/small/n"),
            _operation("add", "/new", 1),
        ],
    )
    assert before == {"large": {"x": [1, 2, 3]}, "small": {"list": [1], "n": 1}}
    assert after == {"large": {"x": [1, 2, 3]}, "small": {"list": [1, 2]}, "new": 1}
    assert after["large"] is before["large"]


def _operation(name: str, path: str, value: Any = None) -> dict[str, Any]:
    if name in ("move", "copy"):
        return {"op": name, "path": path, "from": value}
    return {"op": name, "path": path, "value": value}
