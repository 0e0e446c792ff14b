"""``otel-atm tokenizers``: what counts tokens on this machine, and fetching what is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from otel_atm.cli_common import Commands, as_json_option, echo_json

if TYPE_CHECKING:
    from pathlib import Path

    from otel_atm.tokenizers.catalog import Entry

_MODELS_SHOWN: Final = 5


@click.group(cls=Commands, invoke_without_command=True)
@as_json_option
@click.pass_context
def tokenizers(ctx: click.Context, as_json: bool) -> None:
    """Say which tokenizers are usable here, for which models, from which files."""
    if ctx.invoked_subcommand is not None:
        return
    from otel_atm.tokenizers.catalog import entries
    from otel_atm.tokenizers.files import data_folder, files_of

    found = list(entries(files_of(os.environ)))
    folder = data_folder(os.environ)
    if as_json:
        echo_json(
            {
                "folder": folder and str(folder),
                "tokenizers": [entry.as_dict() for entry in found],
            }
        )
        return
    for entry in found:
        click.echo("\n".join(_lines(entry)))
    click.echo(f"\nOur folder: {folder or 'none, as HOME is not set'}")


def _lines(entry: Entry) -> Iterator[str]:
    usable = entry.counts if entry.usable else "not usable"
    models = ["any other"] if entry.models == ("*",) else list(entry.models)
    more = " …" if len(models) > _MODELS_SHOWN else ""
    yield f"{entry.name:<12} {usable:<10}  {' '.join(models[:_MODELS_SHOWN])}{more}"
    if entry.path:
        yield f"{'':<25}{entry.owner}: {entry.path}"
    if entry.problem:
        yield f"{'':<25}{entry.problem}"


@tokenizers.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--from",
    "base_url",
    metavar="URL",
    help="A mirror that has the files under their names; without it, who publishes them.",
)
@click.option("--force", is_flag=True, help="Fetch also what is there.")
def fetch(names: tuple[str, ...], base_url: str | None, force: bool) -> None:
    """Download the files of tokenizers into our folder; nothing else ever downloads.

    Without a NAME: o200k_base and cl100k_base, of OpenAI's models.
    """
    from otel_atm.tokenizers.fetch import DEFAULT, FETCHABLE
    from otel_atm.tokenizers.fetch import fetch as download
    from otel_atm.tokenizers.files import Files, Folder

    if unknown := [name for name in names if name not in FETCHABLE]:
        raise click.UsageError(f"{unknown[0]!r}: expected {', '.join(FETCHABLE)}")
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        raise click.UsageError(f"--from {base_url!r}: expected http:// or https://")
    folder = _folder()
    for name in names or DEFAULT:
        there, content = Files((Folder("fetched", folder),)).find(FETCHABLE[name])
        if there is not None and content and not force:
            click.echo(f"{name} is there already: {there.path}")
            continue
        with _progress(name) as progress:
            path = download(FETCHABLE[name], folder, base_url=base_url, progress=progress)
        click.echo(f"{name}: {path}")


def _folder() -> Path:
    from otel_atm.errors import ConfigurationError
    from otel_atm.tokenizers.files import data_folder

    folder = data_folder(os.environ)
    if folder is None:
        raise ConfigurationError("HOME is not set; say where with ATM_TOKENIZERS_DIR")
    return folder


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    with click.progressbar(length=1, label=name, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = max(total, done)
            bar.update(done - bar.pos)

        yield show
