"""``otel-atm drain``, ``prune``, ``compact``, ``export``, ``forget``: the store's own commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from otel_atm.cli_common import (
    GivenPath,
    as_json_option,
    db_option,
    echo_json,
    ledger_file,
    ledger_option,
)
from otel_atm.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from otel_atm.store.forget import Forgotten
    from otel_atm.store.paths import StorePaths
    from otel_atm.store.unread import UnreadError


@click.command()
@db_option()
@click.option("--retry", is_flag=True, help="Also what could not be read before (*.bad).")
@as_json_option
def drain(db: str, retry: bool, as_json: bool) -> None:
    """Take what programs have spooled beside the DuckDB file into it.

    Programs do so by themselves every second; this is for what a killed one has left.
    """
    from otel_atm.store import drain as draining
    from otel_atm.store.paths import StorePaths

    paths = StorePaths.of(db)
    waits = draining.has_segments(paths) or draining.aside(paths)
    if not waits and not paths.database.exists():
        raise StoreError(f"{db!r} does not exist, and nothing waits to be taken into it")
    if not waits:
        draining.check(paths)
    if sys.stderr.isatty():
        megabytes = _megabytes(draining.spooled_bytes(paths))
        click.echo(f"taking in up to {megabytes} …", err=True)
    rows, unread = _drained(paths, retry=retry)
    waiting, aside = draining.spooled_bytes(paths), len(draining.aside(paths))
    if as_json:
        said = {"rows": rows, "waiting_bytes": waiting, "aside": aside}
        more = {} if unread is None else {"unread": unread.files}
        echo_json({"database": str(paths.database), **said, **more})
    else:
        click.echo(f"{_rows(rows)} taken into {db}{_left(waiting, aside)}")
    if unread is not None:
        raise unread


def _drained(paths: StorePaths, *, retry: bool) -> tuple[int, UnreadError | None]:
    """How many rows were taken in, and what of the spool cannot be read."""
    from otel_atm.store import drain as draining
    from otel_atm.store.unread import UnreadError

    try:
        return draining.drain(paths, retry=retry), None
    except UnreadError as error:
        return error.rows, error


def _left(waiting: int, aside: int) -> str:
    """What was not taken in, and why."""
    writing = f"; {waiting:,} bytes are still being written" if waiting else ""
    files = f"{aside:,} file{'s' * (aside != 1)}"
    return writing + (f"; {files} could not be read, kept aside" if aside else "")


@click.command()
@db_option()
@click.option(
    "--events",
    envvar="ATM_KEEP_EVENTS",
    show_envvar=True,
    metavar="AGE",
    help="How long events are kept, e.g. 90d, 12h, 2y. [default: for ever]",
)
@click.option(
    "--rollups",
    envvar="ATM_KEEP_ROLLUPS",
    show_envvar=True,
    metavar="AGE",
    help="The same for usage_1m, usage_1h and points of metrics.",
)
@as_json_option
def prune(db: str, events: str | None, rollups: str | None, as_json: bool) -> None:
    """Delete events and roll-ups that are too old.

    Programs do so by themselves, where their store says how long rows are kept. The file does not
    get smaller by it, but grows no more; `otel-atm compact` makes it small.
    """
    from otel_atm import housekeeping

    if events is None and rollups is None:
        raise click.UsageError("nothing is too old: give --events AGE, --rollups AGE or both")
    with _usage_errors(), _progress("deleting") as progress:
        pruned = housekeeping.prune(db, events=events, rollups=rollups, progress=progress)
    if as_json:
        echo_json(
            {
                "database": _database(db),
                "events": pruned.events,
                "rollups": pruned.rollups,
                "points": pruned.points,
                "events_since": _instant(pruned.events_since),
                "rollups_since": _instant(pruned.rollups_since),
            }
        )
        return
    for name, count, since in (
        ("usage_events", pruned.events, pruned.events_since),
        ("roll-ups", pruned.rollups, pruned.rollups_since),
    ):
        if since is not None:
            click.echo(f"{_rows(count)} deleted from {name}: kept since {since:%Y-%m-%d %H:%M} UTC")
    if pruned.points:
        click.echo(f"{pruned.points:,} point{'s' * (pruned.points != 1)} of metrics deleted")


@click.command()
@db_option()
@as_json_option
def compact(db: str, as_json: bool) -> None:
    """Make the DuckDB file as small as it can be.

    DuckDB keeps the room of deleted rows for new ones; this writes the file anew without it.
    Programs go on meanwhile. Killed at any moment, the file is whole.
    """
    from otel_atm import housekeeping

    with _progress("compacting") as progress:
        done = housekeeping.compact(db, progress=progress)
    if as_json:
        echo_json({"database": _database(db), "before": done.before, "after": done.after})
        return
    click.echo(f"{db}: {_megabytes(done.before)} before, {_megabytes(done.after)} after")


@click.command()
@db_option()
@click.option(
    "--parquet",
    "folder",
    required=True,
    metavar="FOLDER",
    type=GivenPath(file_okay=False),
    help="Where the files go: FOLDER/day=2026-11-22/usage_events.parquet.",
)
@click.option("--since", metavar="DAY", help="The first day, e.g. 2026-11-22 (UTC).")
@click.option("--until", metavar="DAY", help="The last day.")
@click.option(
    "--relation",
    type=click.Choice(["usage_events", "usage_1h", "usage_1m"]),
    default="usage_events",
    show_default=True,
    help="What to export.",
)
@as_json_option
def export(
    db: str, folder: str, since: str | None, until: str | None, relation: str, as_json: bool
) -> None:
    """Write a Parquet file for each UTC day, for other engines and for keeping.

    Done again, it writes only the days that have changed. No file is ever there in part.
    """
    from otel_atm import housekeeping

    with _usage_errors(), _progress("exporting") as progress:
        done = housekeeping.export(
            db, folder, since=since, until=until, relation=relation, progress=progress
        )
    if as_json:
        days = {
            name: [str(day) for day in getattr(done, name)]
            for name in ("written", "unchanged", "kept")
        }
        echo_json({"folder": str(done.folder.absolute()), "rows": done.rows, **days})
        return
    click.echo(
        f"{_days(len(done.written))} written to {folder} ({_rows(done.rows)}), "
        f"{len(done.unchanged)} as they were"
    )
    if done.kept:
        click.echo(
            f"{_days(len(done.kept))} left as exported before: some of their rows are deleted now"
        )


@click.command()
@db_option()
@ledger_option(
    "The ledger, e.g. sqlite:///tokens.ledger. [default: the file beside the DuckDB file]"
)
@click.option("--user", required=True, metavar="ID", help="Whom, as in the column user_id.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
def forget(db: str, ledger: str | None, user: str, yes: bool, as_json: bool) -> None:
    """Make a user's rows anonymous, in every file of the store; what was used stays.

    Cannot be undone. Files that were exported are not touched.
    """
    from otel_atm import housekeeping

    path = None if ledger is None else ledger_file(db, ledger)
    if path is not None and ledger != "auto" and not path.exists():
        raise StoreError(f"{str(path)!r} does not exist; see --ledger. Nothing was changed")
    if not yes:
        _confirm(f"Forget the user {user!r} in {db} for good?")
    with _usage_errors(), _progress("compacting") as progress:
        done = housekeeping.forget(db, user, ledger=path, progress=progress)
    if as_json:
        echo_json({"database": _database(db), **_as_json(done)})
    elif not (done.events or done.rollups or done.accounts or done.segments or done.waiting):
        click.echo(f"nothing of the user {user!r} was found in {db}, nor in the ledger")
    else:
        click.echo(
            f"forgotten: {_rows(done.events)} of usage_events and {done.rollups:,} of roll-ups are "
            f"anonymous, {_accounts(done.accounts)} of the ledger and {done.segments:,} lines that "
            "were kept aside are deleted\nParquet files that were exported are not touched"
        )
    for path in done.naming:
        click.echo(f"{path} may name the user until its program ends", err=True)
    if done.waiting:
        raise StoreError(_unfinished(done))


def _as_json(done: Forgotten) -> dict[str, Any]:
    return {
        "events": done.events,
        "rollups": done.rollups,
        "accounts": done.accounts,
        "segments": done.segments,
        "complete": done.complete,
        "waiting": [str(path) for path in done.waiting],
        "naming": [str(path) for path in done.naming],
    }


def _unfinished(done: Forgotten) -> str:
    """What may still name the person, and what to do."""
    files = ", ".join(str(path) for path in done.waiting)
    return f"{files}: written by a program that does not let go of it; end it, and do this again"


def _confirm(question: str) -> None:
    """Ask, and end with 1 if the answer is no."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here: give --yes")
    click.confirm(question, abort=True, err=True)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """What was given cannot be used: exit code 2."""
    try:
        yield
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def _progress(label: str) -> Iterator[Callable[[float], None] | None]:
    """A bar on a terminal, for a part that is done, 0 to 1."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr) as bar:
        yield lambda part: bar.update(max(0, int(part * 1000) - bar.pos))


def _database(db: str) -> str:
    from otel_atm.store.paths import StorePaths

    return str(StorePaths.of(db).database)


def _instant(since: datetime | None) -> str | None:
    return None if since is None else f"{since.isoformat()}Z"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _days(count: int) -> str:
    return f"{count:,} day{'s' * (count != 1)}"


def _accounts(count: int) -> str:
    return f"{count:,} account{'s' * (count != 1)}"
