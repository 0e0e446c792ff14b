"""Tokenizers by the real files, and by none at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_atm.tokenizers import Tokenizers, standard
from otel_atm.tokenizers.files import Files, Folder
from otel_atm.tokenizers.local import Vocabularies
from tests.tokenizers import data


@pytest.fixture(scope="session")
def folder() -> Path:
    """With the real files of OpenAI's vocabularies."""
    return data.folder()


@pytest.fixture(scope="session")
def real(folder: Path) -> Tokenizers:
    """Counts as tiktoken does."""
    return standard(folder, environ={})


@pytest.fixture(scope="session")
def vocabularies(folder: Path) -> Vocabularies:
    """The real ones."""
    return Vocabularies(Files((Folder("tests", folder),)))
