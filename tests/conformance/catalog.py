"""What probes there are, and their environments: told without importing what they need."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
_LOCKED: Final = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)

#: Mode → how otel-atm is set up in it.
MODES: Final = {
    "doors": "processor and guards",
    "careful": "the same, under an SDK that lets no error of a processor out",
    "unsampled": "the same, and all spans are sampled out",
    "guards": "guards only: the provider of the emitter is not metered",
    "late": "processor and guards, set up after the emitter",
    "spans": "processor only",
}
#: Where nothing has to be enforced: what happens is shown.
UNENFORCED: Final = "spans"


@dataclass(frozen=True, slots=True)
class Probe:
    """One emitter, set up as its users do.

    Attributes:
        name: of its module.
        env: the environment that it runs in.
        title: for the page.
        packages: whose versions the page names.
    """

    name: str
    env: str
    title: str
    packages: tuple[str, ...]

    @property
    def versions(self) -> str:
        """The packages with the versions of the lock."""
        locked = {_plain(name): version for name, version in locks(self.env).items()}
        return ", ".join(f"{name} {locked[_plain(name)]}" for name in self.packages)


def probes() -> dict[str, Probe]:
    """Name → probe, in alphabetical order."""
    files = sorted((HERE / "probes").glob("[a-z]*.py"))
    return {file.stem: _read(file) for file in files}


def lock_file(env: str) -> Path:
    """The locked requirements of an environment."""
    return HERE / "environments" / f"{env}.txt"


def locks(env: str) -> dict[str, str]:
    """Package → version."""
    return dict(_LOCKED.findall(lock_file(env).read_text()))


def _read(file: Path) -> Probe:
    said: dict[str, Any] = {}
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in ("ENV", "TITLE", "PACKAGES"):
                said[name] = ast.literal_eval(statement.value)
    return Probe(file.stem, said["ENV"], said["TITLE"], tuple(said["PACKAGES"]))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
