"""Fetching: the only place that downloads, and only when somebody asks for it by name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers.vocabularies import CL100K, O200K, VOCABULARIES, Vocabulary

#: What can be fetched, and what is when nobody names any.
FETCHABLE: Final = {each.name: each for each in VOCABULARIES if each.url}
DEFAULT: Final = (O200K.name, CL100K.name)
_CHUNK: Final = 1 << 16
_MOST: Final = 1 << 27
_CONNECT_S, _SILENCE_S = 10.0, 30.0


def fetch(
    vocabulary: Vocabulary,
    folder: Path,
    *,
    base_url: str | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Path:
    """Download the file of a vocabulary into a folder; what was there is replaced in one step.

    Args:
        vocabulary: one of `FETCHABLE`.
        folder: is made if it is missing.
        base_url: of a mirror that has the file under its name. None: its publisher.
        progress: called with bytes so far, and in all (0: not known).

    Returns:
        Where it lies.

    Raises:
        ConfigurationError: it cannot be fetched, or is not the file that it should be.
        OSError: it cannot be written.
    """
    url = f"{base_url.rstrip('/')}/{vocabulary.file}" if base_url else vocabulary.url
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / vocabulary.file
    handle, partial = tempfile.mkstemp(dir=folder, prefix=f".{vocabulary.file}.")
    try:
        with os.fdopen(handle, "wb") as file:
            _check(url, _download(url, file, progress), vocabulary.sha256)
            os.fchmod(file.fileno(), 0o644)  # no secret; a folder may be for everybody
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return path


def _check(url: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise ConfigurationError(f"{url}: its SHA-256 is {actual}, not {expected}; nothing is kept")


def _download(url: str, file: IO[bytes], progress: Callable[[int, int], None]) -> str:
    """Write what is at an address; its SHA-256."""
    import requests

    digest, done = sha256(), 0
    try:
        with requests.get(url, stream=True, timeout=(_CONNECT_S, _SILENCE_S)) as response:
            response.raise_for_status()
            total = int(response.headers.get("content-length") or 0)
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(done, total)
                if done > _MOST:
                    break  # and so it has another SHA-256
    except requests.RequestException as error:
        raise ConfigurationError(f"{url}: {_reason(error)}") from error
    return digest.hexdigest()


def _reason(error: Any) -> str:
    """Why there is no file, without the names of the classes in between."""
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    return (
        f"cannot be fetched ({type(error).__name__}); without a network, copy the file into the "
        "folder yourself, or name a mirror with --from"
    )
