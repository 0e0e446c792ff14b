"""``otel-atm tokenizers``: what is usable, and the one thing that downloads."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from otel_atm.cli import main
from otel_atm.tokenizers import standard
from otel_atm.tokenizers.vocabularies import CL100K, O200K

ROOT = Path(__file__).parents[2]
Run = Callable[..., Result]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
        """Say nothing."""


@pytest.fixture
def mirror(folder: Path) -> Iterator[str]:
    """Address of a server with the real files."""
    yield from serving(folder)


def serving(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Our folder, which is not there yet."""
    return tmp_path / "data/tokenizers"


@pytest.fixture
def run(tmp_path: Path, ours: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `otel-atm tokenizers ARGUMENTS` on a machine without any file."""
    for name in ("ATM_TIKTOKEN_DIR", "DATA_GYM_CACHE_DIR", "HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    monkeypatch.setenv("ATM_TOKENIZERS_DIR", str(ours))

    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["tokenizers", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    return call


def listed(run: Run) -> dict[str, dict[str, Any]]:
    result = run("--json")
    assert result.exit_code == 0
    return {each["name"]: each for each in json.loads(result.stdout)["tokenizers"]}


def test_on_an_empty_machine_it_says_what_is_missing_and_what_to_do(run: Run, ours: Path) -> None:
    result = run()
    assert result.exit_code == 0
    assert "no file; otel-atm tokenizers fetch o200k_base" in result.stdout
    assert f"Our folder: {ours}" in result.stdout
    found = listed(run)
    assert [name for name, each in found.items() if each["usable"]] == ["bytes"]
    assert found["bytes"]["counts"] == "estimated"


def test_it_says_what_is_usable_from_which_file(run: Run, ours: Path, mirror: str) -> None:
    run("fetch", "--from", mirror)
    found = listed(run)
    assert found["o200k_base"] == {
        "name": "o200k_base",
        "models": list(O200K.models),
        "counts": "exact",
        "usable": True,
        "owner": "fetched",
        "path": str(ours / "o200k_base.tiktoken"),
        "problem": "",
        "checked": True,
    }
    assert list(found) == ["o200k_base", "cl100k_base", "gemma3", "gemma4", "stand-in", "bytes"]
    assert f"fetched: {ours}/cl100k_base.tiktoken" in run().stdout


def test_a_damaged_file_is_told(run: Run, ours: Path) -> None:
    ours.mkdir(parents=True)
    (ours / CL100K.file).write_bytes(b"x")
    problem = "its file is damaged: its SHA-256 is 2d711642…, not 223921b7…"
    assert listed(run)["cl100k_base"]["problem"] == problem
    assert problem in run().stdout


def test_a_library_that_is_missing_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # as if it was not installed
    assert listed(run)["gemma3"]["problem"] == (
        "no file; otel-atm tokenizers fetch gemma3; "
        "needs sentencepiece; pip install 'otel-atm[google]'"
    )


def test_what_is_fetched_counts_from_then_on(run: Run, ours: Path, mirror: str) -> None:
    result = run("fetch", "cl100k_base", "--from", mirror)
    assert (result.exit_code, result.stdout) == (0, f"cl100k_base: {ours}/cl100k_base.tiktoken\n")
    assert sorted(path.name for path in ours.iterdir()) == ["cl100k_base.tiktoken"]
    assert (ours / CL100K.file).stat().st_mode & 0o777 == 0o644
    assert standard().count("tiktoken is great!", "gpt-4").tokens == 6


def test_what_is_there_is_not_fetched_again_unless_it_is_forced(
    run: Run, ours: Path, mirror: str
) -> None:
    run("fetch", "cl100k_base", "--from", f"{mirror}/")
    first = (ours / CL100K.file).stat().st_ino
    again = run("fetch", "cl100k_base", "--from", "http://127.0.0.1:9")
    assert again.stdout == f"cl100k_base is there already: {ours}/cl100k_base.tiktoken\n"
    assert (ours / CL100K.file).stat().st_ino == first
    assert run("fetch", "cl100k_base", "--from", mirror, "--force").exit_code == 0
    assert (ours / CL100K.file).stat().st_ino != first


def test_a_damaged_file_is_fetched_anew(run: Run, ours: Path, mirror: str) -> None:
    ours.mkdir(parents=True)
    (ours / CL100K.file).write_bytes(b"x")
    assert run("fetch", "cl100k_base", "--from", mirror).exit_code == 0
    assert listed(run)["cl100k_base"]["usable"]


def test_another_file_than_it_should_be_is_not_kept_and_the_old_one_stays(
    run: Run, ours: Path, tmp_path: Path, mirror: str
) -> None:
    run("fetch", "cl100k_base", "--from", mirror)
    before = (ours / CL100K.file).read_bytes()
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / CL100K.file).write_bytes(b"x")
    for url in serving(tmp_path / "wrong"):
        result = run("fetch", "cl100k_base", "--from", url, "--force")
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: {url}/cl100k_base.tiktoken: its SHA-256 is 2d711")
        assert "nothing is kept" in result.stderr
    assert [path.read_bytes() for path in ours.iterdir()] == [before]


def test_what_the_server_does_not_have_is_an_error_that_says_so(run: Run, mirror: str) -> None:
    result = run("fetch", "gemma3", "--from", mirror)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {mirror}/gemma3_cleaned_262144_v2.spiece.model: "
        "the server answered 404 File not found\n"
    )


def test_without_a_network_the_error_says_what_else_one_can_do(run: Run, ours: Path) -> None:
    result = run("fetch", "--from", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: http://127.0.0.1:9/o200k_base.tiktoken: cannot be fetched (ConnectionError); "
        "without a network, copy the file into the folder yourself, or name a mirror with --from\n"
    )
    assert list(ours.iterdir()) == []


@pytest.mark.parametrize("url", ["", "mirror.example", "file:///tmp"])
def test_an_address_that_is_none_is_an_error(url: str, run: Run) -> None:
    result = run("fetch", "--from", url)
    assert result.exit_code == 2
    assert f"{url!r}: expected http:// or https://" in result.stderr


def test_a_name_that_nobody_has_is_a_usage_error(run: Run) -> None:
    result = run("fetch", "gpt-5")
    assert result.exit_code == 2
    assert "'gpt-5': expected o200k_base, cl100k_base, gemma3" in result.stderr


def test_a_folder_that_cannot_be_made_is_an_error(
    run: Run, tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATM_TOKENIZERS_DIR", str(tmp_path / "file/below"))
    result = run("fetch", "cl100k_base", "--from", mirror)
    assert result.exit_code == 1
    assert "Not a directory" in result.stderr


def test_without_a_home_one_must_say_where(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "ATM_TOKENIZERS_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    result = run("fetch")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: HOME is not set; say where with ATM_TOKENIZERS_DIR\n",
    )
    assert "Our folder: none, as HOME is not set" in run().stdout


def test_a_variable_that_names_no_folder_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATM_TIKTOKEN_DIR", "/no/such")
    result = run()
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: ATM_TIKTOKEN_DIR='/no/such': there is no such folder\n",
    )


def test_on_a_terminal_it_shows_how_far_it_is(ours: Path, mirror: str) -> None:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "otel_atm.cli", "tokenizers", "fetch", "cl100k_base"]
    subprocess.run(
        [*command, "--from", mirror],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "ATM_TOKENIZERS_DIR": str(ours), "TERM": "xterm"},
        cwd=ROOT,
    )
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert "cl100k_base" in shown
    assert "100%" in shown
