"""A command that can't do what it was asked to, said in one line."""

from typing import Final

__all__ = ["BROKEN_PIPE", "INTERRUPTED", "UNUSABLE", "CommandFailed"]

UNUSABLE: Final = 2
"""Exit code for a command line that can't be used as it is."""
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""
BROKEN_PIPE: Final = 141
"""Exit code when whoever reads the output has gone, as shells have it."""


class CommandFailed(Exception):
    """The command ends here; its text is one line that says why, and what to do."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code
