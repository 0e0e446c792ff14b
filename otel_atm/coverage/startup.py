"""Start-up: one warning, once, where something in use is not enforced as things are set.

Only what is loaded is looked at, so it costs microseconds. Most instrumentations are turned on
after set-up: what is not on yet is not complained of. `otel_atm.doctor` looks at everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from otel_atm.coverage.clients import CLIENTS, Client
from otel_atm.coverage.instrumentations import INSTRUMENTATIONS, NATIVE_ANTHROPIC
from otel_atm.coverage.loaded import environment, is_active, is_loaded, packages
from otel_atm.guards.install import seams
from otel_atm.trouble import logger

_said = False


def warn_if_not_enforced(*, guards: bool, budgets: bool) -> None:
    """Warn, once in a process; never raises.

    Args:
        guards: whether guards are on.
        budgets: whether there are any: else there is nothing to enforce.
    """
    global _said
    if _said or not budgets:
        return
    try:
        found = list(not_enforced(guards=guards, environ=environment()))
    except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
        _said = True
        logger.error("otel-atm: the start-up check failed: %s", type(error).__name__)
        return
    if found:
        _said = True
        logger.warning(_MESSAGE, "; ".join(found))


_MESSAGE: Final = "otel-atm: budgets do not stop all calls here: %s. Run `otel-atm doctor`"


def not_enforced(*, guards: bool, environ: Mapping[str, str]) -> Iterator[str]:
    """What is in use, and why it is not enforced."""
    standing = packages(seams())
    for client in CLIENTS:
        bare = [name for name in _newest(client) if name not in standing]
        if client.name not in _ALSO_OTHERWISE and bare and is_loaded(client.module):
            yield f"{client.name} sends with {bare[0]}, on which there is no guard"
    if guards:
        return
    for each in INSTRUMENTATIONS:
        if each.state != "enforced" and is_active(each):
            yield f"{each.name} {each.why}, and guards are off"
    if _native_spans_alone(environ):
        yield f"anthropic makes spans by itself and {NATIVE_ANTHROPIC.why}, and guards are off"


#: Clients of a whole cloud: that they are loaded does not say that models are called.
_ALSO_OTHERWISE: Final = ("boto3", "aiobotocore")
#: Whoever has loaded one of these will turn it on, and its spans come before the client's own.
_OUTER: Final = tuple(
    each.switch.partition(":")[0]
    for each in INSTRUMENTATIONS
    if each.state == "enforced" and "anthropic" in each.clients
)


def _newest(client: Client) -> tuple[str, ...]:
    return client.sends_with(None)


def _native_spans_alone(environ: Mapping[str, str]) -> bool:
    off = environ.get("ANTHROPIC_OPEN_TELEMETRY", "").lower() == "false"
    return not off and is_loaded("anthropic._tracing") and not any(map(is_loaded, _OUTER))
