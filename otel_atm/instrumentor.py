"""The instrumentor: otel-atm as one of OpenTelemetry's instrumentations."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_atm.errors import AtmError
from otel_atm.late import late_import
from otel_atm.trouble import logger
from otel_atm.variables import keywords

if TYPE_CHECKING:
    from otel_atm.handle import Handle


class OtelAtmInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Sets otel-atm up as instrumentations are set up: by hand, by a file, or by a command.

    ::

        OtelAtmInstrumentor().instrument(budgets=["10k tokens / day per user"])

    ``opentelemetry-instrument`` calls it in every program of an environment where otel-atm is
    installed, so it does nothing that nobody asks for.
    """

    _handle: Handle | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: what there is to meter is found out as it is imported."""
        return ()

    def instrument(self, **keywords: Any) -> None:
        """Set otel-atm up, if anything says how; else nothing happens.

        Args:
            keywords: of `otel_atm.init`, with ``tracer_provider`` for its ``provider``. What they
                leave open, the ``ATM_*`` variables say.

        Raises:
            ConfigurationError: a keyword cannot be used. Without keywords nothing is raised: a
                mistake in the variables is logged, and nothing is metered.
        """
        super().instrument(**keywords)
        # who has only been asked in passing may still be asked in earnest
        self._is_instrumented_by_opentelemetry = self._handle is not None

    def uninstrument(self, **keywords: Any) -> None:
        """Shut down what was set up."""
        super().uninstrument(**keywords)

    def _instrument(self, **given: Any) -> None:
        if given:
            self._set_up(given)
            return
        try:
            self._set_up({})
        except Exception as error:  # noqa: BLE001 - else no instrumentation is set up at all
            said = str(error) if isinstance(error, AtmError) else type(error).__name__
            logger.error("otel-atm: nothing is metered, the ATM_* variables are wrong: %s", said)

    def _set_up(self, given: dict[str, Any]) -> None:
        settings = {**keywords(os.environ), **given}
        if not settings:
            logger.debug("otel-atm: no ATM_* variable is set, nothing is metered")
            return
        with late_import():  # programs that nobody asked to meter need not wait for it
            from otel_atm.handle import init
        provider = settings.pop("tracer_provider", None)
        self._handle = init(provider=provider, **settings)

    def _uninstrument(self, **_: Any) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.shutdown()
