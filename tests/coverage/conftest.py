"""Environments made of nothing but the metadata of distributions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Makes a folder in which `name="version"` is installed, "_" in a name being "-"."""
    folder = tmp_path / "site-packages"
    folder.mkdir()

    def call(**versions: str) -> Path:
        for name, version in versions.items():
            info = folder / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
            )
        return folder

    return call
