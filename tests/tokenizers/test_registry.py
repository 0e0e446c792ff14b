"""The registry: who is asked, in which order, and that there always is an answer."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_atm.tokenizers as tokenizers_package
from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers import TokenCount, Tokenizers, from_function
from otel_atm.trouble import Trouble

ROOT = Path(__file__).parents[2]
SECRET = "the launch code is 0000"


class Says:
    """A tokenizer that always says the same."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def count(self, text: str, model: str | None) -> Any:
        return self.answer


class Fails:
    def count(self, text: str, model: str | None) -> TokenCount:
        raise ValueError(text)


def test_the_last_registered_is_asked_first() -> None:
    tokenizers = Tokenizers()
    tokenizers.register(Says(TokenCount(1)), "gpt-*")
    tokenizers.register(Says(TokenCount(2)), "gpt-5*")
    assert tokenizers.count("x", "gpt-5.1").tokens == 2
    assert tokenizers.count("x", "gpt-4").tokens == 1


def test_one_that_cannot_tell_leaves_it_to_the_next() -> None:
    tokenizers = Tokenizers()
    tokenizers.register(Says(TokenCount(1)))
    tokenizers.register(Says(None))
    assert tokenizers.count("x", "any").tokens == 1


def test_one_that_fails_is_passed_over_counted_and_its_error_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = Trouble()
    tokenizers = Tokenizers(trouble)
    tokenizers.register(Fails())
    with caplog.at_level(logging.DEBUG):
        assert tokenizers.count(SECRET, "any").method == "bytes"
    assert trouble.counts == {"tokenizer": 1}
    assert "tokenizer failed" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("answer", [TokenCount(-1), TokenCount(1.5), (1, 2), "seven", 7])  # type: ignore[arg-type]
def test_what_is_no_count_is_passed_over(answer: Any) -> None:
    trouble = Trouble()
    tokenizers = Tokenizers(trouble)
    tokenizers.register(Says(answer))
    assert tokenizers.count("four", "any").method == "bytes"
    assert trouble.counts == {"tokenizer": 1}


def test_what_a_tokenizer_leaves_out_is_filled_in() -> None:
    tokenizers = Tokenizers()
    tokenizers.register(Says(TokenCount(5)))
    assert tokenizers.count("x") == TokenCount(5, False, "Says", 5)
    tokenizers.register(Says(TokenCount(5, True, "mine", 3)))
    assert tokenizers.count("x") == TokenCount(5, True, "mine", 5)


@pytest.mark.parametrize("model", ["gpt-5.1", "GPT-5.1", "openai/gpt-5.1", "a/b/gpt-5.1"])
def test_models_are_matched_in_any_case_with_and_without_who_serves_them(model: str) -> None:
    tokenizers = Tokenizers()
    tokenizers.register(Says(TokenCount(1)), "Gpt-5*")
    assert tokenizers.count("x", model).tokens == 1


def test_several_globs_and_a_star_for_calls_without_a_model() -> None:
    tokenizers = Tokenizers()
    tokenizers.register(Says(TokenCount(1)))
    tokenizers.register(Says(TokenCount(2)), ["a-*", "b"])
    assert [tokenizers.count("x", model).tokens for model in ("a-1", "b", "bb", None)] == [
        *(2, 2, 1, 1)
    ]


def test_registering_later_changes_models_that_were_asked_before() -> None:
    tokenizers = Tokenizers()
    assert tokenizers.count("x", "mine").estimated
    tokenizers.register(from_function(len), "mine")
    assert tokenizers.count("four", "mine") == TokenCount(4, False, "function", 4)


def test_a_tokenizer_without_count_is_an_error_that_shows_it() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Tokenizers().register(len, "*")  # type: ignore[arg-type]
    assert str(raised.value) == "tokenizer=<built-in function len>: expected a method count"


@pytest.mark.parametrize("models", ["", [], ["a", ""]])
def test_globs_that_are_none_are_an_error(models: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^models=.*: expected globs of models$"):
        Tokenizers().register(Says(None), models)


def test_what_is_no_text_is_an_error_that_does_not_show_it() -> None:
    with pytest.raises(TypeError, match=r"^text: expected a str, not bytes$"):
        Tokenizers().count(SECRET.encode(), "gpt-5")  # type: ignore[arg-type]


@given(st.text(st.characters()), st.none() | st.text())
def test_there_always_is_an_answer(text: str, model: str | None) -> None:
    count = Tokenizers().count(text, model)
    assert count.estimated
    assert 0 <= count.tokens <= 1.35 * (len(text.encode("utf-8", "surrogatepass")) + 4)
    assert count.upper >= count.tokens
    assert (count.tokens == 0) == (text == "")


def test_what_guards_need_of_it_loads_nothing_else() -> None:
    program = (
        "import sys; import otel_atm.tokenizers.estimate; "
        "print([name for name in sys.modules if name.startswith('otel_atm.tokenizers.')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT)
    assert ran.stdout.decode().strip() == str(
        ["otel_atm.tokenizers.count", "otel_atm.tokenizers.estimate"]
    )


def test_its_names_are_those_that_it_says() -> None:
    assert dir(tokenizers_package) == sorted(tokenizers_package.__all__)
    assert all(getattr(tokenizers_package, name).__doc__ for name in tokenizers_package.__all__)
    with pytest.raises(
        AttributeError, match=r"^module 'otel_atm.tokenizers' has no attribute 'x'$"
    ):
        _ = tokenizers_package.x
