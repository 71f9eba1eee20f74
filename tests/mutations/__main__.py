"""`python -m tests.mutations`: plants each bug and runs the tests that are to catch it."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.catalogue import MUTATIONS, Mutation
from tests.mutations.planting import CantPlant, check, copied, planted
from tests.mutations.table import publish, render
from tests.mutations.trial import TrialError, Verdict, try_tests


def main() -> int:
    options = _options()
    chosen = [one for one in MUTATIONS if not options.only or one.name in options.only]
    if options.list:
        for mutation in chosen:
            print(f"{mutation.name}: {mutation.breaks}")
        return 0
    try:
        for mutation in chosen:
            check(mutation)
        with tempfile.TemporaryDirectory(prefix="runcast-mutations-") as directory:
            copy = copied(Path(directory))
            _is_used(copy)
            _passes(copy, chosen, options.tests)
            outcomes = _try_all(copy, chosen, options.tests)
    except (CantPlant, TrialError) as error:
        print(error, file=sys.stderr)
        return 2
    table = render(outcomes)
    print(f"\n{table}\n")
    survivors = [mutation.name for mutation, verdict in outcomes if verdict.caught_by is None]
    if not options.only and not options.tests:
        publish(table)
    print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} caught")
    if survivors:
        print(f"survived: {', '.join(survivors)}", file=sys.stderr)
    return int(bool(survivors))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--list", action="store_true", help="say which bugs there are, and stop")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[mutation.name for mutation in MUTATIONS],
        help="plant only this one; may be given again",
    )
    parser.add_argument(
        "--tests",
        action="append",
        metavar="PATH",
        help="run these tests instead of each bug's own; may be given again",
    )
    return parser.parse_args()


def _is_used(copy: Path) -> None:
    """
    Raises:
        TrialError: tests in the copy would import the package from elsewhere.
    """
    found = subprocess.run(
        [sys.executable, "-c", "import broker; print(broker.__file__)"],
        cwd=copy,
        env={"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    if not found.startswith(str(copy)):
        raise TrialError(f"the copy is not what is tested, but {found}")


def _passes(copy: Path, mutations: Sequence[Mutation], tests: Sequence[str] | None) -> None:
    """Without any bug the tests must pass, or their failing would say nothing.

    Raises:
        TrialError: they don't.
    """
    wanted = tests or list(dict.fromkeys(test for one in mutations for test in one.tests))
    print("without a bug … ", end="", flush=True)
    verdict = try_tests(copy, wanted)
    print(f"{verdict.seconds:.0f} s", flush=True)
    if verdict.caught_by is not None:
        raise TrialError(f"{verdict.caught_by} fails without a bug")


def _try_all(
    copy: Path, mutations: Sequence[Mutation], tests: Sequence[str] | None
) -> list[tuple[Mutation, Verdict]]:
    outcomes = []
    for number, mutation in enumerate(mutations, 1):
        print(f"{number}/{len(mutations)} {mutation.name} … ", end="", flush=True)
        with planted(mutation, copy):
            verdict = try_tests(copy, tests or mutation.tests)
        print(f"{verdict.caught_by or 'SURVIVED'} ({verdict.seconds:.0f} s)", flush=True)
        outcomes.append((mutation, verdict))
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
