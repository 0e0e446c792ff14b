"""What the commands of the command line share."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from otel_atm.errors import AtmError, ConfigurationError

C = TypeVar("C", bound=Callable[..., Any])

#: What DuckDB makes of Ctrl-C: a RuntimeError.
_INTERRUPTED: Final = "Query interrupted"


class Commands(click.Group):
    """A group whose commands end a known failure with one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click does it."""
        try:
            return super().invoke(ctx)
        except AtmError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # nobody reads on, e.g. `| head`: click ends quietly
            raise click.ClickException(_said(error)) from error
        except Exception as error:
            if str(error) == _INTERRUPTED:
                raise KeyboardInterrupt from error
            duckdb = sys.modules.get("duckdb")
            if duckdb is None or not isinstance(error, duckdb.Error):
                raise
            raise click.ClickException(f"DuckDB failed: {error}") from error


def _said(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    where = error.filename if error.filename2 is None else error.filename2
    return f"{os.fsdecode(where)}: {error.strerror}"


class GivenPath(click.Path):
    """A path that DuckDB can open; not empty, as that of a variable that is not set is."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """As click does it, but for these."""
        if value == "":
            self.fail("'': expected a path", param, ctx)
        if isinstance(value, str) and value != value.encode(errors="replace").decode():
            self.fail(f"{value!r}: expected a path in UTF-8", param, ctx)
        return super().convert(value, param, ctx)


def db_option(help_text: str = "The DuckDB file.") -> Callable[[C], C]:
    """Of a command that works on a store."""
    return click.option(
        "--db",
        envvar="ATM_DB",
        show_envvar=True,
        default="tokens.duckdb",
        show_default=True,
        metavar="PATH",
        type=GivenPath(dir_okay=False),
        help=help_text,
    )


def ledger_option(help_text: str) -> Callable[[C], C]:
    """Of a command that works on a ledger."""
    return click.option(
        "--ledger", envvar="ATM_LEDGER", show_envvar=True, metavar="URL", help=help_text
    )


as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="For programs: JSON, stable keys."
)


def ledger_file(db: str, ledger: str | None) -> Path | None:
    """The file of a ledger: the one that is named, else the one beside the DuckDB file.

    None of a ledger in memory.
    """
    from otel_atm.ledgers import check_ledger, sqlite_file
    from otel_atm.store.paths import StorePaths

    if ledger is None or ledger == "auto":
        return StorePaths.of(db).ledger
    try:
        check_ledger(ledger)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    path = sqlite_file(ledger)
    if path is not None and Path(path).is_dir():
        raise click.UsageError(f"--ledger {ledger!r} is a folder; expected a file")
    return None if path is None else Path(os.path.realpath(path))


def echo_json(value: dict[str, Any]) -> None:
    """Print it; what is no Unicode, as a name may have it, is escaped."""
    import orjson

    try:
        click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    except TypeError:
        click.echo(json.dumps(value, indent=2))
