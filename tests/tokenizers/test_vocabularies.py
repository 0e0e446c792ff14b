"""Vocabularies: which models they are of, and that the files are the publishers'."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tiktoken.model
from tiktoken_ext import openai_public

from otel_atm.tokenizers.vocabularies import CL100K, GEMMA3, GEMMA4, O200K, vocabulary_of

NAMES = {"o200k_base": O200K, "o200k_harmony": O200K, "cl100k_base": CL100K}
GOOGLES = {"gemma3": GEMMA3, "gemma4": GEMMA4}


def tiktokens() -> dict[str, str]:
    """Models that tiktoken knows → their encodings, of those that we have."""
    prefixes = tiktoken.model.MODEL_PREFIX_TO_ENCODING
    models = {
        f"{prefix}2026-01-01": name
        for prefix, name in prefixes.items()
        if prefix != "ft:gpt-4"  # as below
    }
    models |= {
        "ft:gpt-4:acme::1": "cl100k_base",
        "ft:gpt-4o-mini:acme::1": "o200k_base",
        **tiktoken.model.MODEL_TO_ENCODING,
    }
    return {model: name for model, name in models.items() if name in NAMES}


def googles() -> dict[str, str]:
    """Models that google-genai knows → their tokenizers; read, as importing it needs more."""
    spec = find_spec("google.genai")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    source = Path(spec.submodule_search_locations[0]) / "_local_tokenizer_loader.py"
    found: dict[str, str] = {}
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and "TOKENIZER_NAMES" in ast.unparse(node.targets[0]):
            found |= ast.literal_eval(node.value)
    return found


def test_models_have_the_vocabularies_that_tiktoken_says() -> None:
    known = tiktokens()
    assert len(known) > 20
    wrong = {
        model: vocabulary_of(model)
        for model, name in known.items()
        if vocabulary_of(model) is not NAMES[name]
    }
    assert wrong == {}


def test_models_have_the_vocabularies_that_google_says() -> None:
    known = googles()
    assert len(known) > 10
    wrong = {
        model: vocabulary_of(model)
        for model, name in known.items()
        if vocabulary_of(model) is not GOOGLES[name]
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("openai/gpt-5.1", O200K),
        ("openai.gpt-oss-120b-1:0", O200K),
        ("azure/gpt-35-turbo-16k", CL100K),
        ("o4-mini", O200K),
        ("models/gemini-2.5-pro", GEMMA3),
        ("gemma3:12b", GEMMA3),
        ("gemini-3.1-pro-preview", GEMMA4),
        ("gpt-6", None),
        ("o12", None),
        ("claude-opus-4-7", None),
        ("", None),
        (None, None),
    ],
)
def test_names_as_clients_and_gateways_write_them(model: str | None, vocabulary: Any) -> None:
    assert vocabulary_of(model) is vocabulary


def test_addresses_and_checksums_are_those_that_tiktoken_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str]] = []

    def note(url: str, expected_hash: str) -> dict[bytes, int]:
        asked.append((url, expected_hash))
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", note)
    for name in NAMES:
        openai_public.ENCODING_CONSTRUCTORS[name]()
    assert set(asked) == {(each.url, each.sha256) for each in (O200K, CL100K)}


def test_it_knows_the_names_that_tiktoken_gives_files_in_its_cache() -> None:
    assert "fb374d419588a4632f3f557e76b4b70aebbca790" in O200K.names
    assert "9b5ad71b2ce5302211f9c61530b329a4922fc6a4" in CL100K.names
