"""JSON Patch (RFC 6902), without touching what it is applied to.

Only the containers on the way to a change are copied, so older values of a large document cost
little to keep.
"""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["PatchFailed", "apply_patch"]


class PatchFailed(ValueError):
    """The patch does not fit the document, or is none."""


def apply_patch(document: Any, patch: Any) -> Any:
    """The document that the patch makes of this one; all of it or nothing.

    Raises:
        PatchFailed: an operation can't be carried out.
    """
    if not isinstance(patch, Sequence) or isinstance(patch, str):
        raise PatchFailed("a patch is a list of operations")
    for operation in patch:
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: Any) -> Any:
    if not isinstance(operation, Mapping):
        raise PatchFailed("an operation is an object")
    path = _pointer(operation, "path")
    match operation.get("op"):
        case "add":
            return _add(document, path, _value(operation))
        case "remove":
            return _remove(document, path)
        case "replace":
            value = _value(operation)
            _get(document, path)
            return _set(document, path, value)
        case "move":
            source = _pointer(operation, "from")
            if path[: len(source)] == source and path != source:
                raise PatchFailed("nothing moves into itself")
            return _add(_remove(document, source), path, _get(document, source))
        case "copy":
            return _add(document, path, _get(document, _pointer(operation, "from")))
        case "test":
            if not _same(_get(document, path), _value(operation)):
                raise PatchFailed("a test did not hold")
            return document
    raise PatchFailed("no such operation")


def _pointer(operation: Mapping[str, Any], name: str) -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchFailed("a pointer is empty or begins with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchFailed("an operation has no value")
    return operation["value"]


def _child(container: Any, part: str) -> Any:
    if isinstance(container, dict):
        if part in container:
            return container[part]
    elif isinstance(container, list):
        return container[_index(part, len(container) - 1)]
    raise PatchFailed("there is nothing at this path")


def _index(part: str, greatest: int) -> int:
    # As the RFC has it: no signs, no leading zeros, ASCII digits only.
    if part.isascii() and part.isdigit() and (part == "0" or part[0] != "0"):
        index = int(part) if len(part) < 10 else greatest + 1
        if index <= greatest:
            return index
    raise PatchFailed("there is no such index")


def _get(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        document = _child(document, part)
    return document


def _set(document: Any, path: Sequence[str], value: Any) -> Any:
    """With another value where there is one already, or in an object."""
    if not path:
        return value
    part, rest = path[0], path[1:]
    if isinstance(document, dict):
        inner = _set(document[part], rest, value) if rest else value
        return {**document, part: inner}
    copied = list(document)
    index = int(part)
    copied[index] = _set(copied[index], rest, value)
    return copied


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent, part = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        index = len(parent) if part == "-" else _index(part, len(parent))
        return _set(document, path[:-1], [*parent[:index], value, *parent[index:]])
    if isinstance(parent, dict):
        return _set(document, path, value)
    raise PatchFailed("there is nothing at this path")


def _remove(document: Any, path: Sequence[str]) -> Any:
    if not path:
        return None
    parent, part = _get(document, path[:-1]), path[-1]
    _child(parent, part)
    if isinstance(parent, list):
        index = int(part)
        return _set(document, path[:-1], [*parent[:index], *parent[index + 1 :]])
    return _set(
        document, path[:-1], {name: value for name, value in parent.items() if name != part}
    )


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON; to Python, `True` is `1`."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
