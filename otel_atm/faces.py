"""The faces: what users hold in their hands, each wired by `otel_atm.config`."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import time_ns
from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import Tracer, get_current_span

from otel_atm import succession
from otel_atm.config import Assembly, Budgets, Settings
from otel_atm.coverage.startup import warn_if_not_enforced
from otel_atm.errors import ConfigurationError
from otel_atm.facade.hooks import hooks
from otel_atm.facade.teller import Teller
from otel_atm.gate import Admission, Alert, BudgetStatus, Tokens
from otel_atm.gate.wire import Wire
from otel_atm.guards.door import Door
from otel_atm.guards.hosts import Hosts
from otel_atm.guards.install import current, install, uninstall
from otel_atm.ledger import Ledger
from otel_atm.scope import Scope
from otel_atm.spans.processor import GateProcessor
from otel_atm.store.reader import Reader
from otel_atm.store.store import Store
from otel_atm.tokenizers import Tokenizers
from otel_atm.trouble import Trouble
from otel_atm.usage import MOST_TOKENS


class TokenSpanProcessor(GateProcessor):
    """Meters and caps the LLM calls of a tracer provider.

    ::

        provider.add_span_processor(TokenSpanProcessor(budgets=["10k tokens / day per user"]))

    It refuses a call by raising `otel_atm.TokenQuotaExceeded` where its span starts, before
    anything is sent; nothing else ever comes out of it.

    Args:
        budgets: path of a YAML or TOML file, which is read again when it changes; or
            `otel_atm.Budget` or texts. All of them hold at once.
        ledger: "memory" (this process, from zero), "sqlite:///file" (all processes of this host
            that name the file; survives a restart), "auto" (a file beside the store where there
            is one, else memory), or a Ledger.
        store: path of a DuckDB file that keeps a row for each call; None: keep nothing.
        default_hold: tokens held for a call of which nothing is known, half of them input.
        meter_provider: for the ``atm.*`` metrics; None: the global one.
        baggage_keys: scope keys that may come from baggage entries of the same name. Only list
            what no stranger can send: an inbound header must not bill somebody else.
        prices: path of a YAML or TOML file of prices that go before those of genai-prices.
        on_alert: called when a payer reaches a level of a budget's `alert_at`, in the thread of
            the call that does; be quick.
        clock: nanoseconds since the Unix epoch; for tests.
        guards: whether the clients and HTTP libraries of the process are guarded too: calls are
            refused and counted where they are sent, whatever makes spans of them or does not.
        gateways: host → provider, for guards: who answers at hosts of your own, such as
            ``{"llm.acme.dev": "openai", "*.azure.acme.dev": "azure.ai.openai"}``.
        include_usage: whether guards ask for the usage of OpenAI's chat streams that would not
            tell it, and keep the chunk that tells it from the application. Needs `guards`.

    Raises:
        ConfigurationError: a setting cannot be used; the message quotes it.
    """

    def __init__(
        self,
        budgets: Budgets = (),
        ledger: str | Ledger[Any] = "auto",
        store: str | os.PathLike[str] | Store | None = None,
        *,
        default_hold: int = 1000,
        meter_provider: MeterProvider | None = None,
        baggage_keys: Iterable[str] = (),
        prices: str | os.PathLike[str] | None = None,
        on_alert: Callable[[Alert], None] | None = None,
        clock: Callable[[], int] = time_ns,
        guards: bool = True,
        gateways: Mapping[str, str] | None = None,
        include_usage: bool = False,
    ) -> None:
        settings = Settings.of(
            budgets,
            ledger,
            store,
            default_hold,
            baggage_keys,
            prices,
            on_alert,
            clock,
            guards,
            gateways=gateways,
            include_usage=include_usage,
        )
        self._set_up(settings, meter_provider)

    @classmethod
    def of(cls, settings: Settings, meter_provider: MeterProvider | None) -> TokenSpanProcessor:
        """A processor with settings that were checked."""
        processor = cls.__new__(cls)
        processor._set_up(settings, meter_provider)
        return processor

    def _set_up(self, settings: Settings, meter_provider: MeterProvider | None) -> None:
        self._assembly = Assembly(settings, meter_provider)
        super().__init__(
            self._assembly.gate, baggage_keys=settings.baggage_keys, own=_own(settings)
        )
        weakref.finalize(self, self._assembly.close)  # also runs when the interpreter exits
        self._wire = Wire(self._gate, self._attribution.plan)
        self._door: Door | None = None
        self._elders: list[TokenSpanProcessor] = []  # that have stepped down for this one
        self._has_retired = False
        self._guard(settings)
        for rival in succession.rivals(self, list(_processors)):
            self.has_rivals = rival.has_rivals = True
            rival._gate.renew_generation()  # so that it looks closely at its next call
        _processors.add(self)
        warn_if_not_enforced(guards=settings.guards, budgets=bool(settings.budgets))

    def _guard(self, settings: Settings) -> None:
        if not settings.guards:
            self._unguard()
            return
        self._gate.guarded = True
        hosts = Hosts(dict(settings.gateways))
        self._door = Door(
            self._wire, self._gate.trouble, hosts, include_usage=settings.include_usage
        )
        install(self._door)

    def _unguard(self) -> None:
        self._gate.guarded = False
        if self._door is not None:
            uninstall(self._door)
            self._door = None

    @property
    def settings(self) -> Settings:
        """Those that are in force."""
        return self._assembly.settings

    def renew_hooks(self) -> None:
        """Take note of the hooks that are there now."""
        self._assembly.renew_sinks()

    def teller(self, tracer: Callable[[], Tracer], tokenizers: Tokenizers) -> Teller:
        """Takes what the application tells of its calls by itself."""
        return Teller(self._gate, self._attribution.kind, tracer, tokenizers, hooks)

    @property
    def trouble(self) -> Trouble:
        """What failed in here and was passed over."""
        return self._gate.trouble

    @property
    def database(self) -> Path | None:
        """The DuckDB file that it keeps; None if it keeps none."""
        store = self._assembly.store
        return None if store is None else store.paths.database

    @property
    def _ledger_name(self) -> str | Ledger[Any]:
        """Where it counts; see `otel_atm.ledgers.named_ledger`."""
        return self._assembly.ledger_name

    def admit(
        self,
        *,
        tokens: int | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        operation: str = "chat",
        wait_s: float = 0,
    ) -> Admission:
        """See `otel_atm.admit`."""
        stated: Tokens | None
        plain = input_tokens is None is output_tokens
        if not plain or type(tokens) is not int or not 0 <= tokens < MOST_TOKENS:
            stated = _stated(tokens, input_tokens, output_tokens)
        else:  # as mostly
            stated = (tokens // 2, tokens - tokens // 2, 0, 0, 0)
        if wait_s:
            _check_seconds(wait_s)
        trace_id = get_current_span().get_span_context().trace_id  # 0 without one
        plan, gate = self._attribution.plan(provider, model, operation), self._gate
        if stated is None:
            claim = gate.expected(plan, trace_id)
            return Admission(gate, plan, claim, plan.estimate, wait_s, trace_id)
        claim = gate.stated(plan, stated, whole=tokens is None, trace_id=trace_id)
        return Admission(gate, plan, claim, stated, wait_s, trace_id)

    def advice(self, model: str | None = None, provider: str | None = None) -> str | None:
        """See `otel_atm.advice`."""
        return self._gate.oversight.advice(self._attribution.plan(provider, model, "chat"))

    def budgets(self) -> list[BudgetStatus]:
        """How each budget stands, for each payer who has spent anything in its window."""
        return self._gate.oversight.statuses()

    def set_budgets(self, budgets: Budgets) -> None:
        """Replace all budgets at once, for calls from now on.

        What was spent stays with a budget's identity: its name, else what it counts; never its
        limit.

        Raises:
            BudgetError: they cannot be read; nothing was changed.
        """
        self._assembly.configure(self._assembly.settings.under(budgets))

    def grant(self, budget: str, amount: float, **payer: str) -> None:
        """Let a payer spend so much more in the current window: `amount` in the budget's unit."""
        self._gate.oversight.grant(budget, amount, payer)

    def reset(self, budget: str, **payer: str) -> None:
        """Start a payer's current window again at zero."""
        self._gate.oversight.reset(budget, payer)

    def exempt(self, budget: str, for_s: float, **payer: str) -> None:
        """Refuse a payer nothing under a budget for so many seconds; 0 ends it."""
        self._gate.oversight.exempt(budget, for_s, payer)

    def stop(self) -> None:
        """Refuse every call of this process from now on, whatever its budgets say."""
        self._gate.stop("application", stopped=True)

    def resume(self) -> None:
        """End `stop`."""
        self._gate.stop("application", stopped=False)

    def shutdown(self) -> None:
        """Write off what is in flight and flush. Budgets go on holding, rows are still spooled."""
        self._assembly.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Take all rows so far into the DuckDB file; False if that failed or took too long."""
        return self._assembly.flush(timeout_millis / 1000)

    def configure(self, settings: Settings) -> None:
        """Change the settings for calls from now on; see `init`."""
        before = self._assembly.settings
        if settings != before:
            self._assembly.configure(settings)
        if _of_guards(settings) != _of_guards(before):
            self._guard(settings)
        if settings.baggage_keys != before.baggage_keys:
            self.take_from_baggage(settings.baggage_keys)
        if settings.default_app != before.default_app:
            self._attribution.own(_own(settings))

    def retire(self) -> None:
        """Shut down for good. A provider cannot forget a processor, so it ignores what comes."""
        self.ignore_spans()
        self._unguard()
        self._has_retired = True
        for elder in self._elders:
            elder._step_up()
        self._hand_over_guards()
        self._assembly.retire()

    def _hand_over_guards(self) -> None:
        """Nobody but one that writes to the same place can know which calls were counted."""
        doors = [rival._door for rival in succession.rivals(self, list(_processors))]
        left = [door for door in doors if door is not None]
        if left and current() is None:
            install(left[-1])

    def _is_succeeded(self, span: Span, span_id: int) -> bool:
        """Whether a rival was added to the span's provider later; its elders step down for it."""
        line = succession.in_succession(self, span)
        heir = line[-1]
        for elder in line[: line.index(heir)]:
            elder._step_down(heir, span_id)
        return heir is not self

    def _step_down(self, heir: TokenSpanProcessor, span_id: int) -> None:
        """Leave this span and all further ones to another processor."""
        succession.tell_of(self, heir)
        self._leave(span_id)
        self.ignore_spans()
        self._unguard()
        if heir._door is not None:
            install(heir._door)
        heir._elders.append(self)

    def _step_up(self) -> None:
        """Its heir has retired: count again, unless it has retired itself."""
        if not self._has_retired:
            self.heed_spans()
            self._gate.renew_generation()  # another elder may be the heir now
            self._guard(self.settings)

    def after_fork(self) -> None:
        """In a forked child: open spans and holds are the parent's."""
        self.forget_spans()
        self._assembly.after_fork()


def connect(path: str | os.PathLike[str] = "tokens.duckdb") -> Reader:
    """Open a store for reading, also while programs write to it.

    ::

        with otel_atm.connect("tokens.duckdb") as db:
            db.sql("select model, sum(total_tokens) from usage_events group by all").df()

    Args:
        path: of the DuckDB file.

    Raises:
        StoreError: there is no such file.
    """
    return Reader(path)


def _own(settings: Settings) -> Scope:
    return Scope(app=settings.default_app)


def is_kept(database: Path) -> bool:
    """Whether a processor of this process makes the rows of this DuckDB file."""
    return any(processor.database == database for processor in list(_processors))


def _of_guards(settings: Settings) -> tuple[object, ...]:
    return settings.guards, settings.gateways, settings.include_usage


def _check_seconds(wait_s: object) -> None:
    if not isinstance(wait_s, int | float) or not 0 <= wait_s < float("inf"):
        raise ConfigurationError(f"wait_s={wait_s!r}: expected seconds ≥ 0")


def _stated(
    tokens: int | None, input_tokens: int | None, output_tokens: int | None
) -> Tokens | None:
    """What the caller of `admit` says that the call uses at most, unless it is `tokens`, ≥ 0.

    Raises:
        ConfigurationError: these cannot be used, or not together.
    """
    counts = {"tokens": tokens, "input_tokens": input_tokens, "output_tokens": output_tokens}
    given = {name: count for name, count in counts.items() if count is not None}
    for name, count in given.items():
        if type(count) is not int or not 0 <= count < MOST_TOKENS:
            raise ConfigurationError(f"{name}={count!r}: expected an integer ≥ 0 and < 2⁴⁰")
    if not given:
        return None
    if input_tokens is not None and output_tokens is not None and len(given) == 2:
        return input_tokens, output_tokens, 0, 0, 0
    raise ConfigurationError(
        f"admit: give tokens, or input_tokens and output_tokens; given: {', '.join(given)}"
    )


_processors: weakref.WeakSet[TokenSpanProcessor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for processor in list(_processors):
        processor.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
