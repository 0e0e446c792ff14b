"""What the demo shows while it runs: a line for each step, refusals in red with their sentence."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Final

import click

from otel_atm.demo.agent import Step
from otel_atm.demo.cast import BUDGETS, CAST, TEAM_LIMIT, USER_LIMIT

_CELLS: Final = 10
_INDENT: Final = " " * 15


class Show:
    """Keeps the demo's own account of what was spent, from the answers alone, and draws it."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._spent: Counter[tuple[str, str]] = Counter()
        self._steps = 0
        self.refused = 0

    def opening(self, url: str, db: str) -> None:
        """Say what is about to happen."""
        teams = len({person.team for person in CAST})
        models = len({person.model for person in CAST})
        click.secho(
            f"otel-atm demo · {len(CAST)} users in {teams} teams, {models} models, hard budgets",
            bold=True,
        )
        lines = [
            ("provider", f"{url}, ours, on this machine: no key, no network, made-up answers"),
            ("client", "openai, instrumented by opentelemetry-instrumentation-genai-openai"),
            *zip(("budgets", ""), BUDGETS, strict=True),
            ("file", db),
        ]
        for name, text in lines:
            click.echo(f"  {click.style(f'{name:<10}', dim=True)}{text}")
        click.echo()
        titles = f"  #  {'team':<8}  user  {'model':<10}  {'task':<30}  {'in + out':>10}"
        click.secho(f"{titles}  {'user used':<10}  {'team used':<10}", dim=True)

    def step(self, step: Step) -> None:
        """Show one call, sent or refused."""
        person = step.person
        self._steps += 1
        who = f"{self._steps:>3}  {person.team:<8}  {person.name:<4}  "
        if step.refusal is not None:
            self.refused += 1
            self._refusal(who, step)
            return
        input_tokens, output_tokens = step.tokens
        self._spent["user", person.name] += input_tokens + output_tokens
        self._spent["team", person.team] += input_tokens + output_tokens
        task = f"{step.task.name} · {step.did}"
        click.echo(
            f"{who}{person.model:<10}  {task:<30}  {input_tokens:>4} + {output_tokens:>3}  "
            f"{_bar(self._spent['user', person.name], USER_LIMIT)}  "
            f"{_bar(self._spent['team', person.team], TEAM_LIMIT)}"
        )

    def overshoot(self) -> int:
        """By how many tokens a budget was passed at most."""
        limits = {"user": USER_LIMIT, "team": TEAM_LIMIT}
        return max(spent - limits[kind] for (kind, _), spent in self._spent.items())

    def _refusal(self, who: str, step: Step) -> None:
        mark = click.style(" REFUSED ", fg="white", bg="red", bold=True)
        click.echo(f"{who}{step.person.model:<10}  {step.task.name}  {mark} nothing was sent")
        for line in textwrap.wrap(str(step.refusal), self._width - len(_INDENT)):
            click.echo(_INDENT + click.style(line, fg="red"))


def _bar(spent: int, limit: int) -> str:
    """Empty only if nothing is spent, full only if nothing is left."""
    filled = _CELLS if spent >= limit else min(_CELLS - 1, -(-spent * _CELLS // limit))
    bar = "█" * filled + "░" * (_CELLS - filled)
    return click.style(bar, fg="red" if spent >= limit else "yellow" if filled > 7 else "green")
