"""The catalogue: which tokenizers are usable on this machine, and what the others lack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from otel_atm.tokenizers.files import Files
from otel_atm.tokenizers.libraries import is_installed
from otel_atm.tokenizers.vocabularies import O200K, VOCABULARIES, Vocabulary


@dataclass(frozen=True, slots=True)
class Entry:
    """A tokenizer.

    Attributes:
        name: e.g. ``o200k_base``; "stand-in" for estimates by it, "bytes" for those that are
            always there.
        models: globs of those that it is of.
        counts: "exact" or "estimated".
        usable: whether it is here.
        owner: whose folder its file lies in, e.g. "fetched" or "litellm"; None without a file.
        path: of the file.
        problem: why it is not usable, and what to do; "" if it is.
        checked: whether the SHA-256 of its file was compared.
    """

    name: str
    models: tuple[str, ...]
    counts: str
    usable: bool
    owner: str | None = None
    path: str | None = None
    problem: str = ""
    checked: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def entries(files: Files) -> Iterator[Entry]:
    """What there is, the exact ones first. Reads files; imports and loads nothing."""
    stands_in = False
    for vocabulary in VOCABULARIES:
        entry = _entry(vocabulary, files)
        stands_in = stands_in or (vocabulary is O200K and entry.usable)
        yield entry
    if stands_in:
        yield Entry("stand-in", ("*",), "estimated", usable=True)
    yield Entry("bytes", ("*",), "estimated", usable=True)


def _entry(vocabulary: Vocabulary, files: Files) -> Entry:
    found, _ = files.find(vocabulary)
    problem = _problem(vocabulary, None if found is None else found.problem)
    return Entry(
        vocabulary.name,
        vocabulary.models,
        "exact",
        usable=not problem,
        owner=found and found.owner,
        path=found and str(found.path),
        problem=problem,
        checked=bool(found and vocabulary.sha256 and not found.problem),
    )


def _problem(vocabulary: Vocabulary, of_file: str | None) -> str:
    """What is wrong; `of_file` is None without a file."""
    lacks = []
    if of_file is None and vocabulary.url:
        lacks.append(f"no file; otel-atm tokenizers fetch {vocabulary.name}")
    elif of_file is None:
        lacks.append(f"no file; put it into our folder as {vocabulary.file}")
    elif of_file:
        lacks.append(f"its file {of_file}")
    if not is_installed(vocabulary.library):
        lacks.append(f"needs {vocabulary.library}; pip install 'otel-atm[{vocabulary.extra}]'")
    return "; ".join(lacks)
