"""Files: where vocabularies may lie on this machine. Nothing here opens a socket or imports."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers.vocabularies import Vocabulary

#: Bytes of the largest vocabulary that is read; Gemma's is about 30 MB.
_MOST: Final = 1 << 27
#: Packages that bring OpenAI's files, and where they have them.
_BUNDLES: Final = {
    "litellm": "litellm_core_utils/tokenizers",
    "llama_index": "core/_static/tiktoken_cache",
    "bpe_openai": "data",
}


class Folder(NamedTuple):
    """A folder to look in.

    Attributes:
        owner: whose it is, e.g. "fetched", "tiktoken" or "litellm".
        path: of it.
        private: False where anybody on this machine may write; only files that can be checked are
            read from there.
    """

    owner: str
    path: Path
    private: bool = True


class Found(NamedTuple):
    """A file of a vocabulary.

    Attributes:
        owner: of the folder that it lies in.
        path: of the file.
        problem: why it cannot be used; "" if it can.
    """

    owner: str
    path: Path
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Files:
    """The folders to look in, the first first."""

    folders: tuple[Folder, ...]

    def find(self, vocabulary: Vocabulary) -> tuple[Found | None, bytes]:
        """The first file that can be used, and what is in it, checked; or the first that cannot.

        Returns:
            None without any file; no bytes without one that can be used.
        """
        unusable = None
        for folder in self.folders:
            if not (folder.private or vocabulary.sha256):
                continue
            for path in _called(folder.path, vocabulary.names):
                content, problem = _read(path, vocabulary.sha256)
                if not problem:
                    return Found(folder.owner, path), content
                unusable = unusable or Found(folder.owner, path, problem)
        return unusable, b""


def files_of(environ: Mapping[str, str]) -> Files:
    """Where to look on this machine: yours, ours, tiktoken's and others' caches, packages.

    Args:
        environ: of the process.

    Raises:
        ConfigurationError: ``ATM_TIKTOKEN_DIR`` is no folder.
    """
    folders = [*_yours(environ), *_caches(environ), *_bundled()]
    return Files(tuple(folders))


def data_folder(environ: Mapping[str, str]) -> Path | None:
    """Where fetched files are kept; None without a home.

    ``ATM_TOKENIZERS_DIR``, else ``otel-atm/tokenizers`` below ``XDG_DATA_HOME`` (XDG Base
    Directory Specification: ``~/.local/share`` by default).
    """
    if own := environ.get("ATM_TOKENIZERS_DIR"):
        return Path(own)
    base = environ.get("XDG_DATA_HOME") or _below_home(environ, ".local/share")
    return Path(base) / "otel-atm/tokenizers" if base else None


def _below_home(environ: Mapping[str, str], path: str) -> str:
    home = environ.get("HOME")
    return f"{home}/{path}" if home else ""


def _yours(environ: Mapping[str, str]) -> Iterator[Folder]:
    if yours := environ.get("ATM_TIKTOKEN_DIR"):
        yield folder_of("ATM_TIKTOKEN_DIR", yours)
    if ours := data_folder(environ):
        yield Folder("fetched", ours)


def folder_of(setting: str, path: str | os.PathLike[str]) -> Folder:
    """A folder that somebody named.

    Raises:
        ConfigurationError: there is no such folder.
    """
    if not Path(path).is_dir():
        raise ConfigurationError(f"{setting}={os.fspath(path)!r}: there is no such folder")
    return Folder(setting, Path(path))


def _caches(environ: Mapping[str, str]) -> Iterator[Folder]:
    temporary = Path(tempfile.gettempdir())
    cache = environ.get("TIKTOKEN_CACHE_DIR", environ.get("DATA_GYM_CACHE_DIR"))
    if cache != "":  # empty: tiktoken keeps none
        folder = Path(cache) if cache else temporary / "data-gym-cache"
        yield Folder("tiktoken", folder, private=False)
    yield Folder("google-genai", temporary / "vertexai_tokenizer_model", private=False)
    hub = environ.get("HF_HUB_CACHE")
    if not hub:
        home = environ.get("HF_HOME") or _below_home(environ, ".cache/huggingface")
        hub = f"{home}/hub" if home else ""
    if hub:
        yield Folder("Hugging Face", Path(hub))


def _bundled() -> Iterator[Folder]:
    for package, below in _BUNDLES.items():
        try:
            spec = find_spec(package)  # of a package at the top: finds it, imports nothing
        except (ImportError, ValueError):  # ValueError: imported, but by no usual way
            continue
        for path in (spec and spec.submodule_search_locations) or ():
            yield Folder(package, Path(path) / below)


def _called(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        try:
            yield from (path for path in sorted(folder.glob(name)) if path.is_file())
        except OSError:  # a folder of somebody else's
            continue


def _read(path: Path, expected: str) -> tuple[bytes, str]:
    """What is in a file, unpacked, and what is wrong with it, "" for nothing."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(_MOST + 1)
    except (OSError, EOFError) as error:
        return b"", f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
    if len(content) > _MOST:
        return b"", f"is larger than {_MOST:,} bytes"
    if expected and (actual := sha256(content).hexdigest()) != expected:
        return b"", f"is damaged: its SHA-256 is {actual[:8]}…, not {expected[:8]}…"
    return content, ""
