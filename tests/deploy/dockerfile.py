"""A Dockerfile's stages and instructions, for those instructions that ours has."""

import json
import re
import shlex
from dataclasses import dataclass, field

__all__ = ["Instruction", "Stage", "parse_dockerfile"]


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """What follows, in the exec form or by the shell's rules."""
        if self.rest.startswith("["):
            words: list[str] = json.loads(self.rest)
            return words
        return shlex.split(self.rest)

    @property
    def operands(self) -> list[str]:
        """The words without the options of the instruction itself."""
        return [word for word in self.words if not word.startswith("--")]

    @property
    def command(self) -> str:
        """What RUN gives to the shell."""
        return re.sub(r"^(--\S+\s+)+", "", self.rest)


@dataclass
class Stage:
    """From one FROM to the next."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> Instruction:
        """The last instruction of this name, which is the one that holds."""
        return [one for one in self.instructions if one.name == name][-1]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets, in order."""
        return dict(
            word.split("=", 1)
            for one in self.instructions
            if one.name == "ENV"
            for word in one.words
        )


def parse_dockerfile(text: str) -> list[Stage]:
    """The stages, in order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, rest = line.split(None, 1)
        if name == "FROM":
            base, *alias = rest.split()
            stages.append(Stage(base, alias[-1] if alias else None))
        else:
            stages[-1].instructions.append(Instruction(name, rest))
    return stages
