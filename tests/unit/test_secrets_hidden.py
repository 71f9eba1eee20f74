"""What holds a secret does not show it, however it is written out."""

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from broker.access import make_access
from broker.edge.auth.forward import ForwardAuth
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.permit import Permit
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action, Rights
from broker.edge.auth.tickets import Ticket
from broker.redis.catalogue import Catalogue, Reading
from broker.redis.opening import make_deployment
from broker.server.handover import Handover
from broker.settings import Settings, SettingsError, load_settings

_SECRET: Final = "s3cret-0123456789-0123456789-0123456789"
_PRESENTED: Final = Presented(CredentialKind.BEARER, _SECRET)


def _identity() -> Identity:
    async def again(presented: Presented) -> Identity:
        raise AssertionError("nobody asks")

    return Identity(
        "ann", Rights(["watch:*"]), CredentialKind.BEARER, again=partial(again, _PRESENTED)
    )


def _permit() -> Permit:
    async def also(action: Action, run_id: Any) -> Permit:
        return _permit()

    return Permit(_identity(), None, False, False, lambda: None, also)


def _settings() -> Settings:
    return load_settings({"ticket_secret": _SECRET, "redis_url": f"redis://:{_SECRET}@127.0.0.1/0"})


def _handover() -> Handover:
    settings = _settings()
    assert settings.redis_url is not None
    return Handover(1, 3, Path("/tmp"), settings.redis_url.get_secret_value(), settings)


@pytest.mark.parametrize(
    "made",
    [
        lambda: _PRESENTED,
        _identity,
        _permit,
        _settings,
        _handover,
        lambda: Ticket(_SECRET, "id", 1),
    ],
)
def test_it_is_not_in_what_is_written(made: Callable[[], Any]) -> None:
    thing = made()
    for text in (repr(thing), str(thing), f"{thing}", f"{[thing]!r}"):
        assert _SECRET not in text


def test_nor_in_any_part_of_an_edges_access(tmp_path: Path) -> None:
    keys, jwt_key = tmp_path / "keys.toml", tmp_path / "jwt"
    digest = hashlib.sha256(_SECRET.encode()).hexdigest()
    keys.write_text(f'[[keys]]\nname = "a"\nhash = "sha256:{digest}"\nrights = ["watch:*"]\n')
    jwt_key.write_text(_SECRET)
    settings = load_settings(
        {
            "api_keys_file": keys,
            "jwt_key_file": jwt_key,
            "jwt_algorithms": "HS256",
            "jwt_audience": "a",
            "ticket_secret": _SECRET,
            "forward_auth_url": "http://127.0.0.1:9/",
            "redis_url": f"redis://:{_SECRET}@127.0.0.1:9/0",
        }
    )
    assert settings.redis_url is not None
    deployment = make_deployment(
        settings.redis_url.get_secret_value(), connections=1, timeout_seconds=1
    )
    catalogue = Catalogue(Reading(settings.keys, settings.events), {})
    access = make_access(settings, deployment, catalogue)
    text = repr(access) + "".join(f"{name}={part!r}" for name, part in vars(access.guard).items())
    assert "Tickets" in text
    assert _SECRET not in text
    assert digest not in text


async def test_nor_in_the_names_of_tasks() -> None:
    async with ForwardAuth(
        "http://127.0.0.1:9/", timeout_seconds=5, cache_seconds=5, share_seconds=1
    ) as forward:
        asked = asyncio.create_task(forward.verify(_PRESENTED, Action.WATCH, None))
        await asyncio.sleep(0)
        names = [task.get_name() for task in asyncio.all_tasks()]
        asked.cancel()
        await asyncio.wait([asked])
    assert any("flight" in name for name in names)
    for form in (_SECRET, hashlib.sha256(_SECRET.encode()).hexdigest()):
        assert not any(form in name for name in names)


@pytest.mark.parametrize(
    "flags",
    [
        {"ticket_secret": _SECRET[:20]},
        {"ticket_secret": f"{_SECRET} {_SECRET[:20]}"},
        {"forward_auth_url": f"http://user:{_SECRET}@127.0.0.1/"},
        {"jwt_jwks_url": f"https://{_SECRET}@127.0.0.1/"},
        {"redis_url": f"wrong://:{_SECRET}@127.0.0.1"},
        {"redis_url": f"redis://:{_SECRET}@127.0.0.1:port"},
    ],
)
def test_nor_in_what_is_said_of_settings_that_can_not_be_used(flags: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(flags)
    assert _SECRET[:20] not in str(refused.value)
    assert refused.value.__suppress_context__


def test_nor_of_a_key_that_was_written_where_its_hash_belongs(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[keys]]\nname = "a"\nhash = "{_SECRET}"\nrights = ["watch:*"]\n')
    settings = load_settings({"api_keys_file": keys, "redis_url": "redis://127.0.0.1:9/0"})
    deployment = make_deployment("redis://127.0.0.1:9/0", connections=1, timeout_seconds=1)
    catalogue = Catalogue(Reading(settings.keys, settings.events), {})
    with pytest.raises(SettingsError, match="api_keys_file") as refused:
        make_access(settings, deployment, catalogue)
    assert _SECRET not in str(refused.value)
