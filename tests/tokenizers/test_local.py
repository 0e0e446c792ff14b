"""Counts by vocabularies that are here: as the provider's, lazily, in any thread, offline."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sentencepiece  # type: ignore[import-untyped]
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken_ext import openai_public

from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers import TokenCount, Tokenizers, from_file, local, standard
from otel_atm.tokenizers.files import Files, Folder
from otel_atm.tokenizers.libraries import MOST_AT_ONCE, pieces
from otel_atm.tokenizers.local import Local, StandIn, Vocabularies
from otel_atm.tokenizers.vocabularies import GEMMA3, O200K
from tests.tokenizers.texts import ENGLISH, TEXTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiktokens(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    """o200k_base, made by tiktoken itself from its cache."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / O200K.names[2]).symlink_to(folder / O200K.file)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return tiktoken.Encoding(**openai_public.o200k_base())


@pytest.mark.parametrize("kind", TEXTS)
def test_it_counts_as_tiktoken_does(
    kind: str, real: Tokenizers, tiktokens: tiktoken.Encoding
) -> None:
    tokens = len(tiktokens.encode_ordinary(TEXTS[kind]))
    count = real.count(TEXTS[kind], "gpt-5.1")
    assert count == TokenCount(tokens, False, "tiktoken:o200k_base", tokens)


@given(st.text(st.characters()))
def test_it_counts_any_text_as_tiktoken_does(
    real: Tokenizers, tiktokens: tiktoken.Encoding, text: str
) -> None:
    assert real.count(text, "gpt-5.1").tokens == len(tiktokens.encode_ordinary(text))


def test_a_text_that_looks_like_a_special_token_is_a_text(real: Tokenizers) -> None:
    assert real.count("<|endoftext|>", "gpt-5.1").tokens > 1


def test_another_model_is_estimated_by_the_same_vocabulary(real: Tokenizers) -> None:
    exact = real.count(ENGLISH, "gpt-5.1").tokens
    assert real.count(ENGLISH, "gpt-99") == TokenCount(
        exact, True, "tiktoken:o200k_base", -(-exact * 18 // 10)
    )
    assert real.count(ENGLISH, "claude-opus-4-7").tokens == -(-exact * 135 // 100)


@pytest.mark.parametrize("sign", [" ", "\n", "\t", "a", "漢", " \n"])
def test_a_text_of_one_sign_does_not_bring_the_process_down(sign: str, real: Tokenizers) -> None:
    assert real.count(sign * 1_100_000, "gpt-5.1").method == "tiktoken:o200k_base"


def test_a_long_text_cut_between_words_has_as_many_tokens(
    real: Tokenizers, tiktokens: tiktoken.Encoding
) -> None:
    text = ENGLISH * 600
    assert len(text) > 2 * MOST_AT_ONCE
    assert real.count(text, "gpt-5.1").tokens == len(tiktokens.encode_ordinary(text))


@given(st.lists(st.sampled_from([" ", "\n", "word word", "x" * 5_000, "漢字"]), max_size=150))
def test_parts_are_the_whole_and_none_is_too_long(parts: list[str]) -> None:
    text = "".join(parts) * 3
    assert "".join(pieces(text)) == text
    assert max(map(len, pieces(text))) <= MOST_AT_ONCE


def test_threads_that_come_at_once_load_a_vocabulary_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    build = local.build

    def noting(vocabulary: Any, content: bytes) -> Any:
        built.append(vocabulary.name)
        return build(vocabulary, content)

    monkeypatch.setattr(local, "build", noting)
    monkeypatch.setattr(local, "_built", {})
    tokenizers = standard(folder, environ={})
    with ThreadPoolExecutor(8) as pool:
        counts = set(pool.map(lambda _: tokenizers.count("one two three", "gpt-4"), range(32)))
    assert counts == {TokenCount(3, False, "tiktoken:cl100k_base", 3)}
    assert built == ["cl100k_base"]
    assert standard(folder, environ={}).count("four", "gpt-4").tokens == 1  # and once a process
    assert built == ["cl100k_base"]


def test_a_library_that_cannot_read_a_file_is_asked_once(tmp_path: Path) -> None:
    (tmp_path / GEMMA3.file).write_bytes(b"no model")
    broken = GEMMA3._replace(sha256=sha256(b"no model").hexdigest())
    vocabularies = Vocabularies(Files((Folder("mine", tmp_path),)))
    with pytest.raises(RuntimeError):
        vocabularies.counter(broken)
    assert vocabularies.counter(broken) is None


def test_without_files_nobody_can_tell() -> None:
    vocabularies = Vocabularies(Files(()))
    assert Local(vocabularies).count("x", "gpt-5") is None
    assert Local(vocabularies).count("x", "unknown") is None
    assert StandIn(vocabularies).count("x", "gpt-5") is None


OFFLINE = """
import json, sys
touched = []
def watch(event, args):
    if event.startswith("socket.") and event not in ("socket.gethostname",):
        touched.append(event)
sys.addaudithook(watch)
from otel_atm import tokenizers
counter = tokenizers.standard()
counts = [counter.count("Hello, world!", model) for model in ("gpt-5", "claude-x", None)]
shapes = ["openai.chat", "anthropic.messages"]
body = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hello"}]}
counts += [counter.count_request(body, shape) for shape in shapes]
print(json.dumps([touched, counts, "tiktoken" in sys.modules]))
"""


def offline(home: Path, **environ: str) -> Any:
    """What a program sees with an empty home and no cache; any socket is noted."""
    ran = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        capture_output=True,
        check=True,
        env={"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(ROOT), **environ},
        cwd=ROOT,
    )
    return json.loads(ran.stdout)


def test_with_an_empty_home_all_is_estimated_and_the_network_is_not_touched(
    tmp_path: Path,
) -> None:
    touched, counts, _ = offline(tmp_path)
    assert touched == []
    assert counts == [
        [4, True, "bytes", 5],
        [6, True, "bytes", 7],
        [4, True, "bytes", 5],
        [9, True, "bytes+openai.chat", 10],
        [9, True, "bytes+anthropic.messages", 9],
    ]


def test_with_files_tiktoken_counts_and_the_network_is_not_touched(
    folder: Path, tmp_path: Path
) -> None:
    touched, counts, loaded = offline(tmp_path, ATM_TIKTOKEN_DIR=str(folder))
    assert touched == []
    assert counts[0] == [4, False, "tiktoken:o200k_base", 4]
    assert loaded


# Files of one's own ---------------------------------------------------------------------------


def sentences() -> Iterable[str]:
    return (line for line in ENGLISH.splitlines() if line)


@pytest.fixture(scope="module")
def spiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of SentencePiece, trained here."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(), model_writer=model, vocab_size=120, minloglevel=2
    )
    path = tmp_path_factory.mktemp("spiece") / "small.model"
    path.write_bytes(model.getvalue())
    return path


def test_gemini_is_counted_by_gemmas_file_where_it_is(spiece: Path, tmp_path: Path) -> None:
    content = spiece.read_bytes()
    (tmp_path / GEMMA3.file).write_bytes(content)
    small = GEMMA3._replace(sha256=sha256(content).hexdigest())
    counter = Vocabularies(Files((Folder("mine", tmp_path),))).counter(small)
    assert counter is not None
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spiece))
    assert counter(ENGLISH) == len(processor.encode(ENGLISH))
    assert counter("half a character: \ud800") > 1


def test_a_file_of_ones_own_counts_for_the_models_that_one_says(spiece: Path) -> None:
    tokenizers = Tokenizers()
    tokenizers.register(from_file(spiece), models="small-*")
    count = tokenizers.count(ENGLISH, "small-7b")
    assert (count.estimated, count.method) == (False, "sentencepiece:small.model")
    assert tokenizers.count(ENGLISH, "large").estimated


def test_a_tokenizer_json_counts(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(WORDS))
    tokenizer = from_file(path, sha256=sha256(path.read_bytes()).hexdigest().upper())
    assert tokenizer.count("one two two", None) == TokenCount(3, False, "tokenizers:tokenizer.json")


WORDS = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "one": 1, "two": 2}, "unk_token": "[UNK]"},
}


def test_openais_files_count_by_their_names(folder: Path) -> None:
    count = from_file(folder / "cl100k_base.tiktoken").count("tiktoken is great!", "mine")
    assert count == TokenCount(6, False, "tiktoken:cl100k_base.tiktoken")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("none.model", None, "none.model: No such file or directory"),
        ("words.txt", b"x", "words.txt: expected a file whose name ends in .model, .json, o200k"),
        ("broken.model", b"x", "broken.model: sentencepiece cannot read it: "),
        ("broken.json", b"x", "broken.json: tokenizers cannot read it: "),
        ("o200k_base.tiktoken", b"x", "o200k_base.tiktoken: its SHA-256 is 2d711642"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_says_why(
    name: str, content: bytes | None, problem: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        from_file(tmp_path / name)
    assert str(raised.value).startswith(f"{tmp_path}/{problem}")


def test_a_file_must_have_the_checksum_that_one_says(spiece: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"its SHA-256 is [0-9a-f]{64}, not 00$"):
        from_file(spiece, sha256="00")


def test_the_folder_that_one_names_must_be_there() -> None:
    with pytest.raises(ConfigurationError, match=r"^folder='/no/such': there is no such folder$"):
        standard("/no/such", environ={})
