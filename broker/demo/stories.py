"""What the demo's agent is seen doing: made-up tasks as plain data, with nothing timed yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["STORIES", "Ask", "Call", "Say", "Scene", "Story"]


@dataclass(frozen=True, slots=True)
class Say:
    """The agent writes; told token by token."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """The agent uses a tool."""

    tool: str
    arguments: Mapping[str, str | int]
    result: str
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Ask:
    """The agent waits for a person."""

    question: str
    person: str
    reply: str


Scene = Say | Call | Ask


@dataclass(frozen=True, slots=True)
class Story:
    """One task, from beginning to end."""

    slug: str
    """The first part of its runs' ids."""
    title: str
    scenes: tuple[Scene, ...]
    outcome: Literal["succeeded", "failed"]
    summary: str


STORIES: Final = (
    Story(
        slug="bug-triage",
        title="Triage bug #4127: the cart empties at checkout",
        scenes=(
            Say(
                "The report says that the cart is empty after signing in at checkout. "
                "I'll read it in full, then see whether others had the same."
            ),
            Call(
                "read_issue",
                {"number": 4127},
                "3 reports since Tuesday, all on mobile. Release 2.18 went out on Tuesday.",
            ),
            Say(
                "\n\nThree people in two days, all after release 2.18, all on a phone. That is "
                "too regular for chance. I'll look for what changed around the session."
            ),
            Call(
                "search_commits",
                {"range": "v2.17..v2.18", "path": "checkout/session"},
                "1 commit: “Set SameSite=Strict on the cart cookie”",
            ),
            Say(
                "\n\nHere it is. The cart's cookie became SameSite=Strict. The sign-in page "
                "lives on another domain, so on the way back the browser leaves the cookie "
                "out, and the shop starts a new cart. On a desktop, sign-in opens in a popup, "
                "which is why nobody saw it there. I'll prove it with a test."
            ),
            Call(
                "run_test",
                {"file": "test_cart_survives_sign_in.py", "browser": "mobile"},
                "1 failed: expected 2 items in the cart, found 0",
            ),
            Say(
                "\n\nReproduced. SameSite=Lax keeps the protection that matters and brings the "
                "cart back. It's a one-line change; I'd like a person to look at it first."
            ),
            Ask(
                "May I open a pull request that sets the cart cookie to SameSite=Lax?",
                "Dana",
                "Yes, go ahead. Add the test to the mobile suite as well, please.",
            ),
            Call(
                "open_pull_request",
                {"branch": "fix/cart-cookie-lax", "reviewer": "dana"},
                "#4131 opened, checks are green",
            ),
            Say("\n\nThe fix is up for review, and the test now runs on mobile too."),
        ),
        outcome="succeeded",
        summary="Cause found, test written, fix proposed in #4131.",
    ),
    Story(
        slug="invoices",
        title="Reconcile the September invoices",
        scenes=(
            Say(
                "I'll match September's invoices with what arrived on the bank account. "
                "First the open invoices."
            ),
            Call(
                "list_invoices",
                {"month": "2025-09", "status": "open"},
                "148 invoices, 212,940.15 € in all",
            ),
            Call(
                "list_payments",
                {"account": "main", "from": "2025-09-01", "to": "2025-09-30"},
                "151 payments, 214,112.15 € in all",
            ),
            Say(
                "\n\n144 of them match by reference and amount at once. Four invoices and "
                "seven payments are left, so I go through those by hand.\n\n"
                "• Two payments of 1,240.00 € each make up invoice 2209: a customer paid in "
                "two parts.\n"
                "• Invoice 2231 was paid 12.50 € short, which is the bank's fee for a payment "
                "from abroad.\n"
                "• Invoice 2240 was paid with two digits of its reference swapped."
            ),
            Call(
                "match",
                {"invoices": "2209, 2231, 2240", "note": "split, fee, reference"},
                "3 matched",
            ),
            Say(
                "\n\nWhat remains: invoice 2252 over 1,172.00 € was paid twice, on the 12th "
                "and on the 26th, from the same account. That is the whole difference between "
                "the two sums. Paying it back moves money, so I'll ask."
            ),
            Ask(
                "Invoice 2252 was paid twice. Shall I prepare a refund of 1,172.00 €?",
                "Priya",
                "Prepare it, and put it on Friday's list. I'll let the customer know.",
            ),
            Call(
                "prepare_refund",
                {"invoice": 2252, "amount": "1,172.00 €", "list": "Friday"},
                "Ready for release by two people",
            ),
            Say("\n\nBoth sides agree now, to the cent."),
        ),
        outcome="succeeded",
        summary="148 of 148 invoices matched. One refund waits for release on Friday.",
    ),
    Story(
        slug="upgrade",
        title="Upgrade the payments service to Python 3.13",
        scenes=(
            Say(
                "I'll move the payments service to Python 3.13 on a branch, run everything, "
                "and only then suggest a date. First, what it depends on."
            ),
            Call(
                "read_lockfile",
                {"service": "payments"},
                "61 packages; 58 have wheels for 3.13",
            ),
            Say(
                "\n\nThree packages have no wheel for 3.13. Two of them are pure Python and "
                "will build anywhere. The third is the client of the card terminals, and it "
                "is written in C. I'll try it as it is."
            ),
            Call(
                "build_image",
                {"base": "python:3.13-slim", "target": "test"},
                "Built in 96 s, with one compiler warning",
            ),
            Call(
                "run_tests",
                {"suite": "payments", "workers": 8},
                "1,204 passed, 2 failed: test_terminal_timeout, test_terminal_cancel",
                ok=False,
            ),
            Say(
                "\n\nBoth failures are in the terminal client: it calls a function of the "
                "interpreter that 3.13 has removed. It compiles, then fails when a payment is "
                "cancelled. That must not reach a shop.\n\nI could patch the client and keep "
                "our own copy of it, or wait for its next release, which is promised for "
                "November."
            ),
            Ask(
                "Patch the terminal client ourselves, or wait for its release in November?",
                "Marek",
                "Wait. We don't want our own copy of anything that touches cards.",
            ),
            Say("\n\nAgreed. I'll leave the branch as it is, with notes on both failures."),
        ),
        outcome="failed",
        summary="Not possible yet: the card terminal client does not run on Python 3.13.",
    ),
    Story(
        slug="research",
        title="Research: where should 40 sensors keep their data?",
        scenes=(
            Say(
                "The question: forty sensors, one reading a second each, kept for two years, "
                "on one small machine. I'll work out the size first, then compare."
            ),
            Call(
                "calculate",
                {"expression": "40 * 86400 * 365 * 2"},
                "2,522,880,000 readings",
            ),
            Say(
                "\n\nTwo and a half billion rows. At some 16 bytes each that is 40 GB raw, "
                "and sensor data packs well: slow changes, regular times. So it fits on one "
                "disk, and the real question is how quickly old weeks can be looked at."
            ),
            Call(
                "search_library",
                {"query": "time series compression benchmarks", "limit": 12},
                "12 papers and reports, 4 of them with data like ours",
            ),
            Call(
                "run_benchmark",
                {"rows": "50 million", "candidates": "3"},
                "row store 2.1 GB · column files 0.16 GB · time series engine 0.19 GB",
            ),
            Say(
                "\n\nWhat I found:\n\n"
                "• A plain table works, but grows to 100 GB, and a month takes a minute.\n"
                "• Column files, one a day, are the smallest and need no server. Late readings "
                "are a nuisance.\n"
                "• A time series engine is nearly as small, takes late readings gladly, and "
                "is one more thing to run.\n\nIt turns on how often readings come late."
            ),
            Ask(
                "Do the sensors lose their network at times and send readings later?",
                "Ines",
                "Yes, the ones in the cellar do, up to a day late.",
            ),
            Say(
                "\n\nThen the engine is worth its keep. Column files can still be the archive "
                "for what is older than a year."
            ),
        ),
        outcome="succeeded",
        summary="A time series engine for the newest year, column files for the rest.",
    ),
    Story(
        slug="incident",
        title="Find out why search was slow last night",
        scenes=(
            Say(
                "Search took over two seconds between 01:10 and 01:50. I'll begin with what "
                "the machines were doing at that time."
            ),
            Call(
                "query_metrics",
                {"name": "search_latency_p99", "from": "01:00", "to": "02:00"},
                "0.21 s until 01:09, then 2.4 s, back to 0.22 s at 01:51",
            ),
            Call(
                "query_metrics",
                {"name": "disk_read_bytes", "from": "01:00", "to": "02:00"},
                "node 3 reads 480 MB/s from 01:09 to 01:50; the others 12 MB/s",
            ),
            Say(
                "\n\nOne node of five was reading forty times as much as the others, for just "
                "those forty minutes. Something on it read a great deal from the disk. The "
                "beginning looks like a schedule."
            ),
            Call(
                "list_jobs",
                {"node": "search-3", "at": "01:09"},
                "snapshot-verify, every first Tuesday at 01:09",
            ),
            Say(
                "\n\nThe monthly check of the snapshots reads the whole index. It runs on one "
                "node only, without any limit, and each search waits for its slowest node. "
                "So one busy disk made everything slow.\n\nA limit of 60 MB/s would make the "
                "check take five hours instead of forty minutes, and nobody would notice it."
            ),
            Ask(
                "Limit the monthly snapshot check to 60 MB/s from now on?",
                "Tomás",
                "Yes. And let it begin at 22:00, so that it is done by the morning.",
            ),
            Call(
                "update_job",
                {"job": "snapshot-verify", "limit": "60 MB/s", "at": "22:00"},
                "Saved, next run on the first Tuesday",
            ),
            Say("\n\nDone. I've added a line to the runbook, so that the next person knows."),
        ),
        outcome="succeeded",
        summary="Cause: an unlimited snapshot check on one node. It now has a limit.",
    ),
    Story(
        slug="contacts",
        title="Merge duplicate customers before the newsletter",
        scenes=(
            Say(
                "The newsletter goes out at noon, and some people would get it twice. I'll "
                "look for customers who are in the list more than once."
            ),
            Call(
                "find_duplicates",
                {"by": "email, phone, name and town"},
                "612 groups with 1,308 entries",
            ),
            Say(
                "\n\n590 groups are certain: the same address, spelled with capitals or with "
                "a dot. The other 22 share a name and a town, but neither e-mail nor phone. "
                "Those may well be father and daughter, so I won't guess."
            ),
            Call(
                "merge",
                {"groups": 590, "mode": "dry run"},
                "590 would merge; 3 have an open order on both entries",
            ),
            Say(
                "\n\nThree of the certain ones have open orders on both entries. Merging them "
                "is right, but it can't be undone while the orders are on their way. I'd "
                "rather have that confirmed."
            ),
            Ask(
                "Merge all 590 now, with the three that have open orders?",
                "Sam",
                "Not with open orders, no. And we froze the customer data this morning: stop.",
            ),
            Call(
                "check_freeze",
                {"table": "customers"},
                "Frozen until 18:00, for the move to the new warehouse",
                ok=False,
            ),
            Say(
                "\n\nI see the freeze now. It was announced after this task was queued. "
                "Nothing was changed; the list of groups is saved for this evening."
            ),
        ),
        outcome="failed",
        summary="Stopped by Sam: customer data is frozen until 18:00. Nothing was changed.",
    ),
)
"""Played in this order, again and again."""
