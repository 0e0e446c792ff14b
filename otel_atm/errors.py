"""What otel-atm raises.

::

    AtmError
    ├── ConfigurationError      a setting that cannot be used (also a ValueError)
    │   └── BudgetError         a budget that cannot be read
    ├── StoreError              a DuckDB file or its spool that cannot be used
    └── TokenQuotaExceeded      a call that a budget refused

Only `TokenQuotaExceeded` ever leaves telemetry code; the others come from set-up and from reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class AtmError(Exception):
    """The base of every error of this library."""


class ConfigurationError(AtmError, ValueError):
    """A setting that cannot be used; the message quotes it and says what is expected."""


class BudgetError(ConfigurationError):
    """A budget that cannot be read.

    Attributes:
        problem: what is wrong, without what was given.
        text: the budget as it was given, if it was given as a text.
        start, end: the part of `text` that is wrong, as a slice; None where no part is to blame.
        field: the field that is wrong, e.g. "limit"; None where no one field is to blame.
        given: the value of that field.
    """

    def __init__(
        self,
        problem: str,
        text: str = "",
        start: int | None = None,
        end: int | None = None,
        field: str | None = None,
        given: object = None,
    ) -> None:
        self.problem, self.text, self.start, self.end = problem, text, start, end
        self.field, self.given = field, given
        super().__init__(problem, text, start, end, field, given)

    def __str__(self) -> str:
        problem = f"{self.field}={self.given!r}: {self.problem}" if self.field else self.problem
        if not self.text:
            return problem
        shown = f"{problem}\n  {self.text}"
        if self.start is None or self.end is None:
            return shown
        return f"{shown}\n  {' ' * self.start}{'^' * max(1, self.end - self.start)}"


class StoreError(AtmError):
    """A DuckDB file or its spool that cannot be used; nothing that was there is lost."""


class TokenQuotaExceeded(AtmError):  # noqa: N818 - the name is the product's
    """A call was refused by a budget before it was sent; it used nothing.

    Its sentence is made when it is read (`str`): a loop of refused calls does not pay for it.

    Attributes:
        budget: the budget that decided: its name, else its canonical text. Of several that
            refuse, the one that resets last.
        scope: who asked: the scope keys that the budget counts apart, e.g. ``{"user": "ann"}``;
            empty for a budget that everybody shares.
        unit: of all amounts below: "tokens", "input_tokens", "output_tokens", "requests" or "usd".
        requested: the amount that the call would have held.
        used: what is settled in the current window.
        held: what calls in flight hold besides.
        limit: the budget's limit for the window.
        resets_at: when the window ends, an aware datetime in UTC; None for one without end.
        retry_after_s: seconds until the request may fit, at least 0; None when it never will.
        reason: why the call is not let in, whatever is left; None when nothing but the amount
            is in the way.
    """

    def __init__(
        self,
        *,
        budget: str,
        scope: Mapping[str, str],
        unit: str,
        requested: float,
        used: float,
        held: float,
        limit: float,
        resets_at: datetime | None,
        retry_after_s: float | None,
        window: str,
        reason: str | None = None,
    ) -> None:
        self.budget, self.scope, self.unit, self.window = budget, dict(scope), unit, window
        self.requested, self.used, self.held, self.limit = requested, used, held, limit
        self.resets_at, self.retry_after_s, self.reason = resets_at, retry_after_s, reason
        super().__init__()

    def __str__(self) -> str:
        who = " ".join(f"{key}={value!r}" for key, value in self.scope.items()) or "this call"
        if self.reason is not None:
            return f"{who} was refused: {self.reason} [budget: {self.budget}]"
        left = max(0, self.limit - self.used - self.held)
        in_flight = f" ({_amount(self.held)} held by calls in flight)" if self.held else ""
        retry = "" if self.retry_after_s is None else f"; resets in {_duration(self.retry_after_s)}"
        return (
            f"{who} asked for {_amount(self.requested)} {_noun(self.unit, self.requested)}, "
            f"{_amount(left)} of {_amount(self.limit)} left {_when(self.window)}{in_flight}"
            f"{retry} [budget: {self.budget}]"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(kind: type[TokenQuotaExceeded], facts: dict[str, object]) -> TokenQuotaExceeded:
    """Unpickle: exceptions with keyword-only arguments cannot do it by themselves."""
    error = kind.__new__(kind)
    error.__dict__.update(facts)
    return error


def _amount(amount: float) -> str:
    """Money to the millionth; what is whole as it is."""
    return str(amount) if isinstance(amount, int) else f"{amount:.6f}".rstrip("0").rstrip(".")


def _when(window: str) -> str:
    if window == "day":
        return "today"
    if window == "lifetime":
        return "in all"
    return f"in any {window.removeprefix('rolling ')}" if " " in window else f"this {window}"


def _noun(unit: str, amount: float) -> str:
    if unit == "usd":
        return "USD"
    noun = unit.replace("_", " ")
    return noun[:-1] if amount == 1 else noun


def _duration(seconds: float) -> str:
    """Two significant parts: 48 s, 3 min 20 s, 5 h 12 min, 12 d 3 h."""
    for size, name, sub_size, sub_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            rest = int(seconds % size // sub_size)
            return f"{int(seconds // size)} {name}" + (f" {rest} {sub_name}" if rest else "")
    return f"{seconds:.0f} s"
