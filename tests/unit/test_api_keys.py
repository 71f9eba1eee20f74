"""The file of API keys: what it may say, what it gives, how it changes, and how it is made."""

import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.commands.failure import CommandFailed
from broker.commands.key import run_key
from broker.edge.auth.api_keys import ApiKeys, ApiKeysUnusable, hash_of, parse_api_keys
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action
from broker.wire.problem import NotAuthenticated

_KEY = "rck_first"
_OTHER = "rck_second"


def entry(name: str = "web", key: str = _KEY, rights: str = '["watch:*"]', more: str = "") -> str:
    """One of the file's keys."""
    return f'[[keys]]\nname = "{name}"\nhash = "{hash_of(key)}"\nrights = {rights}\n{more}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(entry())
    return path


def put(file: Path, content: str | bytes | None) -> None:
    """Has the file say this; `None` takes it away."""
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)


async def who(keys: ApiKeys, key: str) -> Identity:
    return await keys.verify(Presented(CredentialKind.API_KEY, key), Action.WATCH, None)


async def refused(keys: ApiKeys, key: str) -> bool:
    try:
        await who(keys, key)
    except NotAuthenticated:
        return True
    return False


# ---- what the file says


def test_all_that_a_key_may_have() -> None:
    more = 'subject = "dash@example.com"\nexpires = 2027-01-01T00:00:00+01:00\n'
    (key,) = parse_api_keys(entry(rights='["watch:team-*", "metrics"]', more=more))
    identity = key.identity()
    assert (identity.subject, str(identity.rights)) == ("dash@example.com", "watch:team-* metrics")
    assert identity.kind is CredentialKind.API_KEY
    assert identity.until == 1798758000
    assert {"key:web", "subject:dash@example.com"} < identity.marks
    assert len(identity.marks) == 3


def test_the_least_that_a_key_must_have() -> None:
    (key,) = parse_api_keys(entry(rights="[]").replace(hash_of(_KEY), hash_of(_KEY).upper()))
    assert (key.name, key.hash, str(key.rights)) == ("web", hash_of(_KEY), "")
    assert key.identity().until == math.inf


def test_an_empty_file_has_no_keys() -> None:
    assert parse_api_keys("") == []
    assert parse_api_keys("# none\nkeys = []\n") == []


def test_any_change_of_an_entry_is_another_mark() -> None:
    texts = [
        entry(),
        entry(name="other"),
        entry(key=_OTHER),
        entry(rights='["watch:a*"]'),
        entry(more='subject = "s"'),
        entry(more="expires = 2027-01-01T00:00:00Z"),
    ]
    marks = [
        mark
        for text in texts
        for mark in parse_api_keys(text)[0].identity().marks
        if mark.startswith("entry:")
    ]
    assert len(set(marks)) == len(texts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[keys]", "is not TOML"),
        ("[[key]]", "has 'key', and only"),
        ("keys = 3", r"write \[\[keys\]\]"),
        ("keys = [3]", r"write \[\[keys\]\]"),
        ("[keys]\nname = 'a'", r"write \[\[keys\]\]"),
        ("[[keys]]", "key number 1: hash is missing"),
        ("[[keys]]\nname = 3", "key number 1: hash is missing"),
        (entry(more="right = 1"), "key 'web': 'right' is not known"),
        (entry().replace("rights", "#"), "key 'web': rights is missing"),
        (entry(rights='"watch:*"'), "rights must be a list"),
        (entry(rights="[1]"), "rights must be a list"),
        (entry(rights='["watch"]'), "key 'web': 'watch' is not a right"),
        (entry(name=""), "name must be a text"),
        (entry(name="a\\nb"), "name must be a text"),
        (entry(name="x" * 129), "name must be a text"),
        (entry(more='subject = ""'), "subject must be a text"),
        (entry(more="subject = 3"), "subject must be a text"),
        (entry(more="expires = 2027-01-01"), "expires must be a time with its zone"),
        (entry(more="expires = 2027-01-01T00:00:00"), "expires must be a time with its zone"),
        (entry(more='expires = "2027-01-01T00:00:00Z"'), "expires must be a time with its zone"),
        (entry(key=""), "hash is that of an empty text"),
        (entry() + entry(key=_OTHER), "key 'web': there are two"),
        (entry() + entry("other"), "key 'other': has the same hash as 'web'"),
    ],
)
def test_a_file_that_is_none(text: str, why: str) -> None:
    with pytest.raises(ApiKeysUnusable, match=why) as caught:
        parse_api_keys(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("written", [_KEY, f"sha256:{_KEY}", f"{hash_of(_KEY)}0", "sha256:"])
def test_a_key_in_the_place_of_its_hash_is_not_said_again(written: str) -> None:
    text = entry().replace(hash_of(_KEY), written)
    with pytest.raises(ApiKeysUnusable, match="64 hexadecimal digits") as caught:
        parse_api_keys(text)
    assert _KEY not in str(caught.value)


# ---- who has one


async def test_who_has_a_key_and_who_has_none(file: Path) -> None:
    keys = ApiKeys(file)
    assert "key:web" in (await who(keys, _KEY)).marks
    for wrong in ("", _KEY[:-1], f"{_KEY} ", _KEY.upper(), hash_of(_KEY), hash_of(_KEY)[7:], "é"):
        assert await refused(keys, wrong)


async def test_a_key_expires(file: Path) -> None:
    put(file, entry(more="expires = 2027-01-01T00:00:00Z"))
    now = [1798761599.9]
    keys = ApiKeys(file, clock=lambda: now[0])
    assert (await who(keys, _KEY)).until == 1798761600
    now[0] = 1798761600
    assert await refused(keys, _KEY)


def test_nothing_shows_a_key(file: Path) -> None:
    presented = Presented(CredentialKind.API_KEY, _KEY)
    (key,) = parse_api_keys(file.read_text())
    assert _KEY not in f"{presented!r} {key!r} {key.identity()!r} {vars(ApiKeys(file))!r}"


# ---- how it changes


async def test_a_key_that_is_added_taken_away_and_changed(file: Path) -> None:
    keys = ApiKeys(file)
    web = await who(keys, _KEY)
    assert not await keys.look()

    put(file, entry() + entry("other", _OTHER))
    assert await keys.look()
    other = await who(keys, _OTHER)
    assert not keys.revoked(web)

    put(file, entry(rights='["watch:a-*"]') + entry("other", _OTHER))
    assert await keys.look()
    assert keys.revoked(web)
    assert not keys.revoked(other)
    assert not keys.revoked(await who(keys, _KEY))

    put(file, "")
    assert await keys.look()
    assert keys.revoked(other)
    assert await refused(keys, _KEY)
    assert await refused(keys, _OTHER)


async def test_identities_of_others_are_not_revoked(file: Path) -> None:
    keys = ApiKeys(file)
    (key,) = parse_api_keys(entry("web", _OTHER))
    assert not keys.revoked(Identity("s", key.rights, marks=frozenset({"subject:s", "token:t"})))
    # A ticket has the marks of the key that it was made with.
    assert keys.revoked(
        Identity("s", key.rights, CredentialKind.TICKET, marks=key.identity().marks)
    )


async def test_a_change_without_a_change_of_size_or_time(file: Path) -> None:
    keys = ApiKeys(file)
    before = os.stat(file)
    put(file, entry(key=_OTHER))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(file).st_size == before.st_size
    assert await keys.look()
    assert await refused(keys, _KEY)


async def test_a_file_that_is_just_being_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ApiKeys(file)
    web = await who(keys, _KEY)
    whole = entry("other", _OTHER) + entry()
    read = keys._read

    def read_and_write_on() -> bytes:
        content = read()
        put(file, whole)
        return content

    put(file, entry("other", _OTHER))
    monkeypatch.setattr(keys, "_read", read_and_write_on)
    assert not await keys.look()
    assert not keys.revoked(web)
    assert await keys.look()
    assert not keys.revoked(web)
    await who(keys, _OTHER)


async def test_a_link_that_is_turned_to_another_file(tmp_path: Path) -> None:
    """As Kubernetes does with a secret: the file's directory is a link that is replaced."""
    for number, key in (("1", _KEY), ("2", _OTHER)):
        (tmp_path / number).mkdir()
        (tmp_path / number / "keys.toml").write_text(entry(key=key))
    (tmp_path / "data").symlink_to("1")
    (tmp_path / "keys.toml").symlink_to("data/keys.toml")
    keys = ApiKeys(tmp_path / "keys.toml")
    await who(keys, _KEY)
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "data")
    assert await keys.look()
    await who(keys, _OTHER)
    assert await refused(keys, _KEY)


async def test_a_bad_file_changes_nothing_and_is_said_once(file: Path) -> None:
    keys = ApiKeys(file)
    web = await who(keys, _KEY)
    with capture_logs() as logs:
        for _ in range(3):
            put(file, entry(rights='["nothing"]'))
            assert not await keys.look()
        put(file, None)
        for _ in range(3):
            assert not await keys.look()
        put(file, b"\xff")
        assert not await keys.look()
    errors = [line["why"] for line in logs if line["log_level"] == "error"]
    assert [error.removeprefix(f"{file}: ")[:9] for error in errors] == [
        "key 'web'",
        "No such f",
        "is not UT",
    ]
    assert await who(keys, _KEY) == web
    assert not keys.revoked(web)

    put(file, entry())
    assert not await keys.look()
    with capture_logs() as logs:
        put(file, "bad")
        assert not await keys.look()
        put(file, entry("web", _OTHER))
        assert await keys.look()
    assert [line["log_level"] for line in logs] == ["error", "info"]


@pytest.mark.parametrize("content", [b"bad", b"\xff", b"#" * (2 << 20), None])
def test_a_bad_file_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ApiKeysUnusable, match=f"^{path}: "):
        ApiKeys(path)


# ---- how it is made


def make(name: str = "web", *rights: str, **chosen: Any) -> None:
    given = {"subject": None, "expires_days": None, "append_to": None, **chosen}
    run_key(name, rights or ("watch:*",), **given)


def test_the_command_shows_an_entry(capsys: pytest.CaptureFixture[str]) -> None:
    make('a "b" \\', "watch:*", "admin", subject="ö", expires_days=1)
    out, err = capsys.readouterr()
    key = out.removesuffix("\n")
    assert key.startswith("rck_")
    assert len(key) == len("rck_") + 43
    assert key not in err
    (entry,) = parse_api_keys(err[err.index("[[keys]]") :].partition("\n\n")[0])
    assert (entry.name, entry.hash, entry.subject) == ('a "b" \\', hash_of(key), "ö")
    assert str(entry.rights) == "watch:* admin"
    assert entry.expires is not None
    assert 86_390 < entry.expires.timestamp() - time.time() <= 86_400


def test_each_key_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(10):
        make()
    assert len(set(capsys.readouterr().out.split())) == 10


@pytest.mark.parametrize(
    "before", [None, "", "# no end", "# an end\n", "\n\n", entry(), entry()[:-2]]
)
def test_the_command_appends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str | None
) -> None:
    path = tmp_path / "keys.toml"
    if before is not None:
        path.write_text(before)
        path.chmod(0o640)
    make("new", append_to=path)
    text = path.read_text()
    out, err = capsys.readouterr()
    assert text.startswith(before or "")
    assert parse_api_keys(text)[-1].hash == hash_of(out.strip())
    assert out.strip() not in text + err
    assert path.stat().st_mode & 0o777 == (0o600 if before is None else 0o640)


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"rights": "nothing"}, "'nothing' is not a right"),
        ({"name": ""}, "name must be a text"),
        ({"name": "a\nb"}, "name must be a text"),
        ({"name": "a\udcffb"}, "name must be a text"),
        ({"name": "a\x7fb"}, "is not TOML"),
        ({"subject": ""}, "subject must be a text"),
        ({"append_to": "keys.toml"}, "keys.toml: key 'web': there are two of this name"),
        ({"append_to": "bad.toml"}, "bad.toml: is not TOML"),
        ({"append_to": "binary.toml"}, "binary.toml: is not UTF-8"),
        ({"append_to": "no/keys.toml"}, "no/keys.toml: No such file"),
    ],
)
def test_what_the_command_does_not_make(
    file: Path, capsys: pytest.CaptureFixture[str], chosen: dict[str, Any], why: str
) -> None:
    (file.parent / "bad.toml").write_text("bad")
    (file.parent / "binary.toml").write_bytes(b"\xff")
    chosen = dict(chosen)
    rights = chosen.pop("rights", "watch:*")
    if "append_to" in chosen:
        chosen["append_to"] = file.parent / chosen["append_to"]
    with pytest.raises(CommandFailed, match=why) as caught:
        make(chosen.pop("name", "web"), rights, **chosen)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")
    assert file.read_text() == entry()
