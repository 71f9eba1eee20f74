"""What an edge must be permitted, and what to add to its user's ACL rules where it is not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.redis.inspection.findings import Finding, Level
from broker.redis.notifications import channel_prefix
from broker.redis.streams import KeyTemplate
from broker.redis.tail import Strategy
from broker.wire.ids import RunId

__all__ = ["Right", "judge_rights", "probe_channel", "rights"]

_PROBE_RUN: Final = RunId("runcast-check")


@dataclass(frozen=True, slots=True)
class Right:
    """A command that an edge uses, with a harmless way to try it."""

    shown: str
    rule: str
    """The ACL rule that permits it."""
    words: tuple[object, ...]
    without: str = ""
    """What is lost where it is refused; empty if an edge does not work then."""


def rights(
    keys: KeyTemplate,
    *,
    strategy: Strategy = "auto",
    database: int = 0,
    in_cluster: bool = False,
    notified: bool = False,
    turns_on_notifications: bool = False,
) -> tuple[Right, ...]:
    """What an edge uses. The words change nothing, and name a run that is not there.

    Args:
        keys: how keys are made.
        strategy: how new events are noticed.
        database: the number of the database.
        in_cluster: whether the server is a node of a Cluster.
        notified: whether the server has notifications on.
        turns_on_notifications: whether the edge is to turn them on.
    """
    key = keys.key(_PROBE_RUN)
    wanted = [
        Right("PING", "+ping", ("PING",)),
        Right("XREAD", "+xread", ("XREAD", "COUNT", 1, "STREAMS", key, "0-0")),
        Right("XREVRANGE", "+xrevrange", ("XREVRANGE", key, "+", "-", "COUNT", 1)),
        Right("XINFO STREAM", "+xinfo|stream", ("XINFO", "STREAM", key)),
        Right(
            "INFO",
            "+info",
            ("INFO", "replication"),
            "a failover is not told to viewers",
        ),
    ]
    may_block = strategy == "block" or (strategy == "auto" and not in_cluster)
    if may_block:
        blocks_now = strategy == "block" or not notified
        lost = "" if blocks_now else "nothing new is noticed once notifications are off"
        wanted += [
            Right("CLIENT ID", "+client|id", ("CLIENT", "ID"), lost),
            # No client ever has the id 0.
            Right("CLIENT UNBLOCK", "+client|unblock", ("CLIENT", "UNBLOCK", 0), lost),
        ]
    if strategy != "block":
        lost = "new events are found by looking at every run, " + (
            "or by blocked reads, which costs Redis more"
            if may_block
            else "which is slow and costs Redis more"
        )
        channel = probe_channel(keys, database)
        wanted += [
            Right("SUBSCRIBE", "+subscribe", ("SUBSCRIBE", channel), lost),
            Right("UNSUBSCRIBE", "+unsubscribe", ("UNSUBSCRIBE", channel), lost),
            Right(
                "CONFIG GET",
                "+config|get",
                ("CONFIG", "GET", "notify-keyspace-events"),
                "notifications are not used, even where they are on"
                if may_block
                else "it is not noticed that notifications are off",
            ),
        ]
        if turns_on_notifications and not notified:
            # There is no such setting: permitted or not, nothing is changed.
            words = ("CONFIG", "SET", "runcast-check", "")
            wanted.append(
                Right("CONFIG SET", "+config|set", words, "notifications are not turned on")
            )
    if in_cluster:
        wanted += [
            Right("CLUSTER SLOTS", "+cluster|slots", ("CLUSTER", "SLOTS")),
            Right("ASKING", "+asking", ("ASKING",), "runs whose slot is moving can't be read"),
        ]
    return tuple(wanted)


def probe_channel(keys: KeyTemplate, database: int) -> str:
    """The channel of a run that is not there."""
    return channel_prefix(database) + keys.key(_PROBE_RUN)


def judge_rights(
    refusals: Mapping[Right, str | None],
    *,
    user: str,
    keys: KeyTemplate,
    database: int = 0,
) -> Finding:
    """Whether every command that an edge uses may be used.

    Args:
        refusals: for each, the server's words if it was refused.
        user: the ACL user's name.
        keys: how keys are made.
        database: the number of the database.
    """
    refused = {right: text for right, text in refusals.items() if text is not None}
    if not refused:
        return Finding("rights", Level.OK, f"all {len(refusals)} commands of an edge")
    found = "refused: " + ", ".join(right.shown for right in refused)
    needed = [right for right in refused if not right.without]
    for right in needed:
        if _is_unknown(refused[right]):
            advice = f"use a server that has {right.shown}: {refused[right]}"
            return Finding("rights", Level.PROBLEM, found, advice)
    # What the server lacks can't be permitted either.
    missing = {right: text for right, text in refused.items() if not _is_unknown(text)}
    if not missing:
        return Finding("rights", Level.OK, f"{found} (not there): an edge does without")
    rules = (_rule(right, text, keys, database) for right, text in missing.items())
    unique = " ".join(dict.fromkeys(rules))
    advice = f"ACL SETUSER {user} {unique}"
    if needed:
        return Finding("rights", Level.PROBLEM, found, advice)
    lost = "; ".join(dict.fromkeys(right.without for right in missing))
    return Finding("rights", Level.WARNING, found, f"{advice} (without: {lost})")


def _rule(right: Right, text: str, keys: KeyTemplate, database: int) -> str:
    """The rule to add for what was refused with this text."""
    pattern = keys.key(RunId("*"))
    # 7.0 and later: "No permissions to access a key", "… the 'name' key"; 6.2: "… to access one of
    # the keys used as arguments". Of channels alike.
    if re.search(r"access .*\bchannels?\b", text):
        return f"&{channel_prefix(database)}{pattern}"
    if re.search(r"access .*\bkeys?\b", text):
        return f"~{pattern}"
    return right.rule


def _is_unknown(text: str) -> bool:
    return text.lower().removeprefix("err ").startswith("unknown")
