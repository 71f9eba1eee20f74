"""Origins: whose pages may use this edge."""

from collections.abc import Sequence

from starlette.types import Scope

__all__ = ["Origins"]


class Origins:
    """An exact list."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """
        Args:
            allowed: such as `https://app.example.com`; `*` for all.
        """
        self._allowed = frozenset(allowed)

    def check(self, scope: Scope) -> None:
        """Returns if no stranger's page has had a browser send this.

        Raises:
            Forbidden: one may have.
        """
        raise NotImplementedError
