"""Real vocabularies for the tests: ``python -m tests.tokenizers.data`` puts them into ``.cache``.

OpenAI's own host is not asked: a package that brings the files is downloaded, not installed, and
what is taken out of it must have the SHA-256 that tiktoken knows. `make test` does it once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from otel_atm.tokenizers.vocabularies import CL100K, O200K

FOLDER = Path(__file__).parents[2] / ".cache/tokenizers"
#: The lightest that brings both, 12 MB; the files lie in it by the SHA-1 of their addresses.
_PACKAGE = "llama-index-core==0.14.25"
_WITHIN = "llama_index/core/_static/tiktoken_cache"


def missing() -> list[str]:
    """Files that are not there."""
    return [each.file for each in (O200K, CL100K) if not (FOLDER / each.file).exists()]


def folder() -> Path:
    """Where they are.

    Raises:
        FileNotFoundError: says how to get them. A test without them fails; it does not skip.
    """
    if missing():
        raise FileNotFoundError(f"{FOLDER}: run {sys.executable} -m tests.tokenizers.data")
    return FOLDER


def main() -> None:
    if not missing():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        subprocess.run([*pip, "--no-deps", "--dest", downloads, _PACKAGE], check=True)
        (wheel,) = Path(downloads).glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            for each in (O200K, CL100K):
                content = package.read(f"{_WITHIN}/{each.names[2]}")
                whole = FOLDER / f".{each.file}"
                whole.write_bytes(content)
                whole.replace(FOLDER / each.file)


if __name__ == "__main__":
    main()
