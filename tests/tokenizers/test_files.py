"""Files: where they are looked for, in which order, and that they are checked before use."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from pathlib import Path

import pytest

from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers.files import Files, Folder, Found, data_folder, files_of
from otel_atm.tokenizers.vocabularies import CL100K, GEMMA4, O200K

SHA1 = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


@pytest.fixture
def content(folder: Path) -> bytes:
    return (folder / "cl100k_base.tiktoken").read_bytes()


def put(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["cl100k_base.tiktoken", SHA1, "cl100k_base.tiktoken.gz"])
def test_a_file_is_found_by_all_names_that_it_goes_by(
    name: str, content: bytes, tmp_path: Path
) -> None:
    packed = gzip.compress(content, 1) if name.endswith(".gz") else content
    path = put(tmp_path, name, packed)
    assert Files((Folder("mine", tmp_path),)).find(CL100K) == (Found("mine", path), content)


def test_the_first_folder_that_has_it_counts(content: bytes, tmp_path: Path) -> None:
    put(tmp_path / "b", SHA1, content)
    put(tmp_path / "c", SHA1, content)
    folders = tuple(Folder(name, tmp_path / name) for name in "abc")
    found, _ = Files(folders).find(CL100K)
    assert found == Found("b", tmp_path / "b" / SHA1)


def test_a_damaged_file_is_not_used_and_the_next_one_is(content: bytes, tmp_path: Path) -> None:
    put(tmp_path / "a", CL100K.file, content[:-1])
    put(tmp_path / "b", CL100K.file, content)
    files = Files((Folder("a", tmp_path / "a"), Folder("b", tmp_path / "b")))
    assert files.find(CL100K) == (Found("b", tmp_path / "b" / CL100K.file), content)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("cl100k_base.tiktoken", b"", "is damaged: its SHA-256 is e3b0c442…, not 223921b7…"),
        ("cl100k_base.tiktoken.gz", b"no gzip", "cannot be read: BadGzipFile"),
        (
            "cl100k_base.tiktoken.gz",
            gzip.compress(b"x" * 99, mtime=0)[:-9],
            "cannot be read: EOFError",
        ),
    ],
)
def test_one_that_cannot_be_used_is_told_if_there_is_no_other(
    name: str, content: bytes, problem: str, tmp_path: Path
) -> None:
    path = put(tmp_path, name, content)
    assert Files((Folder("mine", tmp_path),)).find(CL100K) == (Found("mine", path, problem), b"")


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / CL100K.file).mkdir()
    os.mkfifo(tmp_path / SHA1)
    assert Files((Folder("mine", tmp_path),)).find(CL100K) == (None, b"")


def test_what_cannot_be_checked_is_not_read_where_anybody_may_write(tmp_path: Path) -> None:
    path = put(tmp_path, GEMMA4.file, b"{}")
    assert Files((Folder("shared", tmp_path, private=False),)).find(GEMMA4) == (None, b"")
    assert Files((Folder("mine", tmp_path),)).find(GEMMA4) == (Found("mine", path), b"{}")


def folders(environ: dict[str, str]) -> dict[str, str]:
    return {owner: str(path) for owner, path, _ in files_of(environ).folders}


def test_where_it_looks_by_default() -> None:
    temporary = tempfile.gettempdir()
    found = list(folders({"HOME": "/home/ann"}).items())
    assert found[:4] == [
        ("fetched", "/home/ann/.local/share/otel-atm/tokenizers"),
        ("tiktoken", f"{temporary}/data-gym-cache"),
        ("google-genai", f"{temporary}/vertexai_tokenizer_model"),
        ("Hugging Face", "/home/ann/.cache/huggingface/hub"),
    ]


def test_where_variables_have_it_look(tmp_path: Path) -> None:
    found = folders(
        {
            "ATM_TIKTOKEN_DIR": str(tmp_path),
            "ATM_TOKENIZERS_DIR": "/data/tokenizers",
            "TIKTOKEN_CACHE_DIR": "/cache/tiktoken",
            "HF_HOME": "/cache/hf",
        }
    )
    assert list(found.items())[:5] == [
        ("ATM_TIKTOKEN_DIR", str(tmp_path)),
        ("fetched", "/data/tokenizers"),
        ("tiktoken", "/cache/tiktoken"),
        ("google-genai", f"{tempfile.gettempdir()}/vertexai_tokenizer_model"),
        ("Hugging Face", "/cache/hf/hub"),
    ]
    assert folders({"DATA_GYM_CACHE_DIR": "/gym"})["tiktoken"] == "/gym"
    assert folders({"HF_HUB_CACHE": "/hub", "HF_HOME": "/hf"})["Hugging Face"] == "/hub"
    assert str(data_folder({"XDG_DATA_HOME": "/x"})) == "/x/otel-atm/tokenizers"


def test_without_a_home_and_with_caches_turned_off_it_looks_at_less() -> None:
    found = folders({"TIKTOKEN_CACHE_DIR": ""})
    assert not {"fetched", "tiktoken", "Hugging Face"} & found.keys()
    assert data_folder({}) is None


def test_a_folder_that_somebody_names_must_be_there() -> None:
    with pytest.raises(ConfigurationError) as raised:
        files_of({"ATM_TIKTOKEN_DIR": "/no/such"})
    assert str(raised.value) == "ATM_TIKTOKEN_DIR='/no/such': there is no such folder"


@pytest.mark.parametrize(
    ("package", "below"),
    [
        ("litellm", "litellm_core_utils/tokenizers"),
        ("llama_index", "core/_static/tiktoken_cache"),
        ("bpe_openai", "data"),
    ],
)
def test_files_that_packages_bring_are_found_without_importing_them(
    package: str, below: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / package / below, SHA1, content)
    put(tmp_path / package, "__init__.py", b"raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    found, _ = Files(tuple(each for each in files_of({}).folders if each.owner == package)).find(
        CL100K
    )
    assert found == Found(package, path)
    assert package not in sys.modules


def test_a_package_that_was_imported_by_no_usual_way_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "litellm", type(sys)("litellm"))  # has no __spec__
    assert "litellm" not in folders({})


def test_gemma_in_the_cache_of_hugging_face_is_found(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--google--gemma-4-E4B-it/snapshots/0123"
    path = put(snapshot, "tokenizer.json", b"{}")
    files = Files((Folder("Hugging Face", tmp_path),))
    assert files.find(GEMMA4) == (Found("Hugging Face", path), b"{}")
    assert files.find(O200K) == (None, b"")
