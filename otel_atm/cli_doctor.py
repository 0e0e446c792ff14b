"""``otel-atm doctor``: which calls of what is installed here are refused for certain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from otel_atm.cli_common import as_json_option, db_option, echo_json, ledger_file, ledger_option

if TYPE_CHECKING:
    from otel_atm.coverage.diagnosis import Diagnosis, Finding

#: `--allow` → the states with which it ends with 0.
_TOLERATED: Final = {
    None: ("enforced",),
    "metered": ("enforced", "metered"),
    "unseen": ("enforced", "metered", "unseen"),
}


@click.command()
@click.option(
    "--guards/--no-guards",
    default=True,
    show_default=True,
    help="Whether programs turn guards on: init(guards=True).",
)
@click.option(
    "--allow",
    type=click.Choice(["metered", "unseen"]),
    help="End with 0 also where calls are only metered; or even unseen.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="NAME",
    help="A client or instrumentation that is not used for models; again for more.",
)
@db_option("The DuckDB file, and beside it the ledger: PATH.ledger.")
@ledger_option("The ledger itself, e.g. sqlite:///tokens.ledger, or memory.")
@as_json_option
def doctor(
    guards: bool,
    allow: str | None,
    ignore: tuple[str, ...],
    db: str,
    ledger: str | None,
    as_json: bool,
) -> None:
    """Say which calls are stopped for certain, which are only counted, and which are unseen.

    It looks at what is installed here, as if all of it was in use, and imports none of it. Ends
    with 1 if anything is not enforced.
    """
    from otel_atm.coverage.text import render
    from otel_atm.report import terminal_width

    diagnosis = _diagnosis(guards, frozenset(ignore), db, ledger)
    if as_json:
        echo_json(diagnosis.as_dict())
    else:
        click.echo(render(diagnosis, terminal_width()), nl=False)
    if diagnosis.state not in _TOLERATED[allow]:
        raise click.exceptions.Exit(1)


def _diagnosis(guards: bool, ignored: frozenset[str], db: str, ledger: str | None) -> Diagnosis:
    from time import time

    from otel_atm.coverage.diagnosis import Diagnosis
    from otel_atm.coverage.examine import examine_environment, judge
    from otel_atm.coverage.files import files
    from otel_atm.store.paths import StorePaths

    paths = StorePaths.of(db)
    scene = examine_environment(guards=guards)
    unknown = ignored - scene.versions.keys()
    if unknown:
        raise click.UsageError(f"--ignore {min(unknown)!r}: nothing of this name was found")
    found = [*judge(scene), *files(paths, ledger_file(db, ledger), time())]
    return Diagnosis(guards, tuple(_passed_over(each, ignored) for each in found))


def _passed_over(finding: Finding, ignored: frozenset[str]) -> Finding:
    if finding.name not in ignored:
        return finding
    return replace(finding, counts=False, why=f"{finding.why} (ignored)")
