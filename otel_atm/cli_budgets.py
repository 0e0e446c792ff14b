"""``otel-atm budgets``: look at budgets in use, and change what is left of them.

Programs on the same ledger follow within a moment: they need not be started again.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import click

from otel_atm.cli_common import (
    C,
    Commands,
    as_json_option,
    db_option,
    echo_json,
    ledger_file,
    ledger_option,
)
from otel_atm.errors import BudgetError, ConfigurationError
from otel_atm.window import FOREVER_NS, SECOND_NS, instant

if TYPE_CHECKING:
    from otel_atm.budget import Budget
    from otel_atm.ledger.operator import Operator, Row

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
#: Of `exempt --for`: until then the ledger's 64 bits of nanoseconds reach.
_LONGEST_S: Final = 36_500 * 86_400
#: Lines of a table of `show`, at most.
_MOST_LINES: Final = 40


@click.group(cls=Commands)
def budgets() -> None:
    """Check a file of budgets; show, raise or reset what is left; stop everything.

    BUDGET is a name, or the text of a budget that has none. Once its window, unit or payers were
    changed, it has several definitions: --budgets says which is in force, or give the definition,
    as `show` prints it, in place of the name.
    """


_payer = click.option(
    "--payer",
    "payers",
    multiple=True,
    metavar="KEY=VALUE",
    help="Whose; once for each key that the budget counts apart.",
)
_in_force = click.option(
    "--budgets",
    "file",
    type=click.Path(),
    metavar="FILE",
    help="The file of the budgets in force, where a name has had several definitions.",
)
_unseen = click.option("--unseen", is_flag=True, help="Also one who has not spent anything yet.")


def _on_ledger(command: C) -> C:
    """The options that say which ledger."""
    on_db = db_option("The DuckDB file beside which the ledger lies: PATH.ledger.")
    on_ledger = ledger_option("The ledger itself, e.g. sqlite:///tokens.ledger.")
    return on_ledger(on_db(command))


@budgets.command()
@click.argument("file", type=click.Path())
@as_json_option
def check(file: str, as_json: bool) -> None:
    """Say whether a file of budgets can be used, and what is wrong with each line."""
    from otel_atm.budget_file import read_budget_file

    try:
        found = read_budget_file(file)
    except BudgetError as error:
        if as_json:
            echo_json({"file": file, "ok": False, "problems": str(error).splitlines()})
            raise click.exceptions.Exit(1) from error
        raise
    if as_json:
        listed = [_described(budget) for budget in found.budgets]
        echo_json({"file": file, "ok": True, "stopped": found.stopped, "budgets": listed})
        return
    for budget in found.budgets:
        name = f"{budget.name}: " if budget.name else ""
        click.echo(f"{name}{budget} ({budget.action})")
    many = len(found.budgets)
    stopped = "; it stops every call" if found.stopped else ""
    click.echo(f"{file}: {many} budget{'s' * (many != 1)}, nothing wrong{stopped}")


@budgets.command()
@_in_force
@_on_ledger
@as_json_option
def show(file: str | None, db: str, ledger: str | None, as_json: bool) -> None:
    """Say what everybody has spent of each budget in its current window, and what is left."""
    with _open(db, ledger, file) as operator:
        now_ns = time.time_ns()
        rows, stopped = operator.rows(now_ns), operator.stopped
    if as_json:
        echo_json({"stopped": stopped, "budgets": [_as_json(row) for row in rows]})
        return
    if stopped:
        click.secho("All calls are stopped: otel-atm budgets resume", bold=True)
    if not rows:
        click.echo("Nothing has been spent in the current windows")
        return
    for budget in dict.fromkeys(row.budget for row in rows):
        of_it = sorted(
            (row for row in rows if row.budget == budget), key=lambda row: row.used, reverse=True
        )
        click.secho(operator.title(budget), bold=True)
        click.echo(_table(of_it, now_ns))


@budgets.command(context_settings={"ignore_unknown_options": True})
@click.argument("budget")
@click.argument("amount")
@_payer
@_unseen
@_in_force
@_on_ledger
def grant(
    budget: str,
    amount: str,
    payers: tuple[str, ...],
    unseen: bool,
    file: str | None,
    db: str,
    ledger: str | None,
) -> None:
    """Let somebody spend AMOUNT more of BUDGET in the current window; less, if it is below 0.

    AMOUNT is in the unit of the budget: 500, 20k, $5.
    """
    with _open(db, ledger, file) as operator:
        found = operator.find(budget)
        more = _amount(amount, found)
        key = operator.key(found, _payers(payers), unseen=unseen)
        operator.grant(key, more, time.time_ns())
    click.echo(f"{found.label}: {_signed(more, found)}{_for(payers)} in the current window")


@budgets.command()
@click.argument("budget")
@_payer
@_in_force
@_on_ledger
def reset(
    budget: str, payers: tuple[str, ...], file: str | None, db: str, ledger: str | None
) -> None:
    """Start somebody's current window of BUDGET again at zero. What was granted is gone, too."""
    with _open(db, ledger, file) as operator:
        found = operator.find(budget)
        operator.reset(operator.key(found, _payers(payers)), time.time_ns())
    click.echo(f"{found.label}: back to zero{_for(payers)}")


@budgets.command()
@click.argument("budget")
@_payer
@click.option("--for", "duration", metavar="TIME", help="E.g. 90s, 30m, 2h, 7d; else for ever.")
@click.option("--off", is_flag=True, help="End it.")
@_unseen
@_in_force
@_on_ledger
def exempt(
    budget: str,
    payers: tuple[str, ...],
    duration: str | None,
    off: bool,
    unseen: bool,
    file: str | None,
    db: str,
    ledger: str | None,
) -> None:
    """Refuse somebody nothing under BUDGET for a time. What is spent is counted."""
    if off and duration:
        raise click.UsageError("--for and --off exclude each other")
    length_ns = _duration_ns(duration) if duration else 0
    with _open(db, ledger, file) as operator:
        found = operator.find(budget)
        key = operator.key(found, _payers(payers), unseen=unseen or off)
        now_ns = time.time_ns()
        until_ns = 0 if off else now_ns + length_ns if length_ns else FOREVER_NS
        operator.exempt(key, until_ns, now_ns)
    until = "counts again" if off else f"refuses nothing{f' for {duration}' if duration else ''}"
    click.echo(f"{found.label}: {until}{_for(payers)}")


@budgets.command()
@_on_ledger
def stop(db: str, ledger: str | None) -> None:
    """Have every program on the ledger refuse every call, until `resume`."""
    with _open(db, ledger) as operator:
        operator.stop(stopped=True)
    click.echo("Stopped: every call is refused until `otel-atm budgets resume`")


@budgets.command()
@_on_ledger
def resume(db: str, ledger: str | None) -> None:
    """End `stop`."""
    with _open(db, ledger) as operator:
        operator.stop(stopped=False)
    click.echo("Going on: calls are refused by budgets only")


def _open(db: str, ledger: str | None, file: str | None = None) -> Operator:
    """The operator of a ledger that is there; `file` says which budgets are in force."""
    from otel_atm.budget_file import read_budget_file
    from otel_atm.ledger.operator import Operator
    from otel_atm.ledger.sqlite import SqliteStore

    path = ledger_file(db, ledger)
    if path is None:
        raise click.UsageError(
            f"--ledger {ledger!r}: only its own program sees it; expected sqlite:///FILE"
        )
    if not path.exists():
        raise ConfigurationError(f"{str(path)!r} does not exist; see --ledger")
    said = () if file is None else read_budget_file(file).budgets
    return Operator(SqliteStore(path), said)


# What is given --------------------------------------------------------------------------------


def _payers(given: tuple[str, ...]) -> dict[str, str]:
    payers: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--payer {text!r}: expected KEY=VALUE, e.g. user=ann")
        if key in payers:
            raise click.UsageError(f"--payer {text!r}: {key}={payers[key]} was given already")
        payers[key] = value
    return payers


def _amount(text: str, budget: Budget) -> int:
    """In the ledger's integers."""
    from otel_atm.budget_text import cap_of, parse_limit

    sign = -1 if text.startswith("-") else 1
    try:
        amount, unit = parse_limit(text.removeprefix("-"))
        in_ledger = cap_of(amount, budget.unit)
    except BudgetError as error:
        raise click.UsageError(f"AMOUNT {text!r}: {error.problem}") from error
    if unit not in (None, budget.unit):
        raise click.UsageError(f"AMOUNT {text!r}: expected an amount of {budget.unit}")
    return sign * in_ledger


def _duration_ns(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if not found or not int(found[1]):
        raise click.UsageError(f"--for {text!r}: expected e.g. 90s, 30m, 2h or 7d")
    seconds = int(found[1]) * _SECONDS[found[2]]
    if seconds > _LONGEST_S:
        raise click.UsageError(f"--for {text!r}: expected 36500d at most; without --for, for ever")
    return seconds * SECOND_NS


# What is said ---------------------------------------------------------------------------------


def _for(payers: tuple[str, ...]) -> str:
    return f" for {' '.join(payers)}" if payers else ""


def _signed(amount: int, budget: Budget) -> str:
    return f"{'+' if amount > 0 else '-'}{_number(budget.shown(abs(amount)))} {_unit(budget)}"


def _number(amount: float) -> str:
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.6f}".rstrip("0").rstrip(".")


def _unit(budget: Budget) -> str:
    return "USD" if budget.unit == "usd" else budget.unit.replace("_", " ")


def _table(rows: list[Row], now_ns: int) -> str:
    from otel_atm.charts.table import printable, table

    lines = []
    for row in rows[:_MOST_LINES]:
        who = " ".join(f"{key}={value or '(none)'}" for key, value in row.payer.items())
        said = [f"{row.granted:+,} granted"] if row.granted else []
        said += ["exempt"] if row.exempt_ns else []
        lines.append(
            [
                printable(who or "everybody"),
                row.used,
                row.held,
                row.left,
                row.limit,
                _until(row, now_ns),
                ", ".join(said),
            ]
        )
    text = table(["payer", "used", "held", "left", "limit", "resets in", ""], lines)
    more = len(rows) - _MOST_LINES
    return f"{text}\nand {more:,} more; --json shows all\n" if more > 0 else f"{text}\n"


def _until(row: Row, now_ns: int) -> str:
    if row.period.end_ns >= FOREVER_NS:
        return "never"
    seconds = max(0, row.period.end_ns - now_ns) // SECOND_NS
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def _described(budget: Budget) -> dict[str, Any]:
    from otel_atm.ledger.definitions import definition

    return {
        "budget": budget.label,
        "text": str(budget),
        "definition": definition(budget),
        "action": budget.action,
    }


def _as_json(row: Row) -> dict[str, Any]:
    def moment(time_ns: int) -> str | None:
        return None if time_ns in (0, FOREVER_NS) else instant(time_ns).isoformat()

    return {
        **_described(row.budget),
        "payer": row.payer,
        "unit": row.budget.unit,
        "used": row.used,
        "held": row.held,
        "left": row.left,
        "limit": row.limit,
        "granted": row.granted,
        "exempt": bool(row.exempt_ns),
        "exempt_until": moment(row.exempt_ns),
        "resets_at": moment(row.period.end_ns),
    }
