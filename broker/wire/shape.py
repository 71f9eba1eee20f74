"""Shapes: JSON documents with places for what is known of an event, as profiles describe them.

`{"run_id": $run_id, "state": $type, "data": $data}` is a shape. A place stands where a JSON value
may: `$name`, `$name.member` for a top-level member of a JSON object, and `$name.*` among an
object's members for all of them that the object does not have already. `$a|$b|"text"` takes the
first that is there, and is not `null`. Inside of a string, `$` is a dollar sign.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

import orjson

__all__ = ["JsonText", "Shape", "Values"]


class Values(Protocol):
    """What places stand for, by their names."""

    def __getitem__(self, name: str, /) -> Callable[[], Any]:
        """Gives a `JsonText`, or whatever orjson writes. Asked only when needed."""


_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_PLACE: Final = r"\$[a-z_]+(?:\.(?:\*|[A-Za-z_][A-Za-z0-9_]*))?"
_CONSTANT: Final = rf"{_STRING}|-?[0-9][0-9.eE+-]*|true|false|null"
_TOKEN: Final = re.compile(rf"{_PLACE}(?:\|(?:{_PLACE}|{_CONSTANT}))*|{_STRING}")
_SPREAD: Final = re.compile(r"\$([a-z_]+)\.\*")
_ALTERNATIVE: Final = re.compile(rf"{_STRING}|[^|\"]+")

_STRUCTURE: Final = re.compile(_STRING.encode() + rb"|[{}\[\],:]")
_LONG_NUMBER: Final = re.compile(rb"[0-9.]{17}")
"""What may be more digits than a float or a 64-bit integer holds."""
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
_FOREIGN_LINE_BREAKS: Final = (
    # Line breaks to `str.splitlines`, and so to clients that read a response line by line
    # (requests' `iter_lines`), although not to an event stream.
    ("\u0085".encode(), b"\\u0085"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


class JsonText:
    """A producer's data, as a part of a JSON document: itself if it is JSON, else a string.

    Numbers keep their digits, whole or as members, and line breaks between JSON's tokens become
    spaces: nothing that a producer writes can begin a new line.
    """

    __slots__ = ("_document", "_exact", "_members", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._members: Mapping[str, Any] | None = None
        self._exact = False
        try:
            self._document = orjson.loads(text)
        except orjson.JSONDecodeError:
            # orjson refuses a little that is JSON: half of a surrogate pair, as JavaScript cuts
            # text into tokens, and numbers beyond a float's.
            self._exact = _is_json(text)
            self._document = None if self._exact else text.decode()

    @property
    def whole(self) -> Any:
        """All of it, as orjson is to write it."""
        if isinstance(self._document, str) or (self._document is None and not self._exact):
            return self._document
        text = self._text
        if b"\n" in text or b"\r" in text:
            text = text.translate(_ONE_LINE)
        return orjson.Fragment(text)

    @property
    def members(self) -> Mapping[str, Any] | None:
        """Its members by their names, as orjson is to write them; `None` if it is no object."""
        if self._members is None and (self._exact or isinstance(self._document, dict)):
            self._members = self._read_members()
        return self._members

    def _read_members(self) -> Mapping[str, Any] | None:
        text = self._text
        if self._exact and not text.lstrip().startswith(b"{"):
            return None
        if self._exact or _LONG_NUMBER.search(text):
            return _raw_members(text)
        try:
            return {name: _writable(value) for name, value in self._document.items()}
        except TypeError:
            # Nested more deeply than orjson writes, although it reads it.
            return _raw_members(text)


class Shape:
    """A shape, read once and filled in often."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        """
        Args:
            text: the shape.
            names: the places that may be used.

        Raises:
            ValueError: it is none; the message says why.
        """
        # Places and strings are numbered, so that neither can be taken for the other.
        numbered: list[str | _Alternatives | _Spread] = []

        def number(match: re.Match[str]) -> str:
            token = match[0]
            if token.startswith('"'):
                numbered.append(_constant(token))
            elif spread := _SPREAD.fullmatch(token):
                numbered.append(_Spread(_known(spread[1], names)))
                # Among members, a place has no name of its own.
                return f'"{len(numbered) - 1}":null'
            else:
                numbered.append(_alternatives(token, names))
            return f'"{len(numbered) - 1}"'

        try:
            document = orjson.loads(_TOKEN.sub(number, text))
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{text!r} is no JSON with $places: {error.msg}") from None
        self._pieces = _joined(_pieces(document, numbered))

    def fill(self, values: Values) -> bytes:
        """The document as JSON, on one line however lines are told apart."""
        filled = b"".join(
            [piece if isinstance(piece, bytes) else piece(values) for piece in self._pieces]
        )
        if not filled.isascii():
            for character, escape in _FOREIGN_LINE_BREAKS:
                # JSON has such characters inside of strings only.
                filled = filled.replace(character, escape)
        return filled


_Piece = bytes | Callable[[Values], bytes]


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    member: str | None


@dataclass(frozen=True, slots=True)
class _Alternatives:
    places: tuple[_Place, ...]
    otherwise: Any

    def __call__(self, values: Values) -> bytes:
        for place in self.places:
            value = values[place.name]()
            if isinstance(value, JsonText):
                if place.member is None:
                    value = value.whole
                else:
                    value = (value.members or {}).get(place.member)
            elif place.member is not None:
                value = value.get(place.member) if isinstance(value, dict) else None
            if value is not None:
                return orjson.dumps(value)
        return orjson.dumps(self.otherwise)


@dataclass(frozen=True, slots=True)
class _Spread:
    """All members but those that the object has itself. What is no object becomes one member, with
    the place's own name."""

    name: str
    own: frozenset[str] = frozenset()

    def __call__(self, values: Values) -> bytes:
        value = values[self.name]()
        if isinstance(value, JsonText):
            members = value.members
            value = value.whole if members is None else members
        if value is None:
            return b""
        if not isinstance(value, dict):
            value = {self.name: value}
        left = {name: item for name, item in value.items() if name not in self.own}
        return b"," + orjson.dumps(left)[1:-1] if left else b""


def _constant(token: str) -> Any:
    try:
        return orjson.loads(token)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{token} is no JSON: {error.msg}") from None


def _alternatives(token: str, names: frozenset[str]) -> _Alternatives:
    places: list[_Place] = []
    parts: Sequence[str] = _ALTERNATIVE.findall(token)
    for part in parts:
        if not part.startswith("$"):
            if part is not parts[-1]:
                raise ValueError(f"{token}: what comes after {part} is never taken")
            return _Alternatives(tuple(places), _constant(part))
        name, _, member = part[1:].partition(".")
        if member == "*":
            raise ValueError(f"{token}: {part} has no alternatives, nor is it one")
        places.append(_Place(_known(name, names), member or None))
    return _Alternatives(tuple(places), None)


def _known(name: str, names: frozenset[str]) -> str:
    if name not in names:
        known = ", ".join(f"${one}" for one in sorted(names))
        raise ValueError(f"${name} is not known here; there are {known}")
    return name


def _pieces(node: Any, numbered: Sequence[Any]) -> list[_Piece]:
    """What the node is written as, one after the other."""
    if isinstance(node, str):
        value = numbered[int(node)]
        return [value] if isinstance(value, _Alternatives) else [orjson.dumps(value)]
    if isinstance(node, list):
        pieces: list[_Piece] = [b"["]
        for index, item in enumerate(node):
            pieces += [b"," if index else b"", *_pieces(item, numbered)]
        return [*pieces, b"]"]
    if isinstance(node, dict):
        return _object_pieces(node, numbered)
    return [orjson.dumps(node)]


def _object_pieces(node: Mapping[str, Any], numbered: Sequence[Any]) -> list[_Piece]:
    spreads: list[_Spread] = []
    pieces: list[_Piece] = []
    own: set[str] = set()
    for key, item in node.items():
        name = numbered[int(key)]
        if isinstance(name, _Alternatives):
            raise ValueError("a place can't be the name of a member")
        if isinstance(name, _Spread):
            spreads.append(name)
            continue
        if name in own:
            raise ValueError(f"there are two members {name!r}")
        own.add(name)
        pieces += [b"," if len(own) > 1 else b"", orjson.dumps(name), b":"]
        pieces += _pieces(item, numbered)
    if not spreads:
        return [b"{", *pieces, b"}"]
    if len(spreads) > 1:
        raise ValueError("one object can take in the members of one other only")
    spread = _Spread(spreads[0].name, frozenset(own))
    if own:
        return [b"{", *pieces, spread, b"}"]
    return [b"{", lambda values: spread(values)[1:], b"}"]


def _joined(pieces: Sequence[_Piece]) -> list[_Piece]:
    joined: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _is_json(text: bytes) -> bool:
    if not text.lstrip().startswith((b"{", b"[", b'"')):
        return False
    try:
        json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _writable(value: Any) -> Any:
    """The value, if orjson can write it wherever it stands.

    Raises:
        TypeError: it is nested too deeply.
    """
    return orjson.Fragment(orjson.dumps(value)) if isinstance(value, dict | list) else value


def _raw_members(text: bytes) -> dict[str, Any]:
    """The members of a JSON object, each in its own digits and letters."""
    members: dict[str, Any] = {}
    name: str | None = None
    depth, start = 0, 0
    for match in _STRUCTURE.finditer(text):
        token = match[0]
        if token in (b"{", b"["):
            depth += 1
            if depth == 1:
                start = match.end()
        elif token in (b"}", b"]"):
            depth -= 1
        if depth == 1 and token == b":" and name is None:
            # Half of a surrogate pair can't be written.
            name = (
                json.loads(text[start : match.start()].decode()).encode(errors="replace").decode()
            )
            start = match.end()
        elif name is not None and (depth == 0 or (depth == 1 and token == b",")):
            raw = text[start : match.start()].strip().translate(_ONE_LINE)
            members[name] = None if raw == b"null" else orjson.Fragment(raw)
            name, start = None, match.end()
        elif depth == 1 and token == b",":
            start = match.end()
    return members
