"""Environment: exporters that the standard ``OTEL_*`` variables name, read once at set-up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from otel_atm.errors import ConfigurationError

_PROTOCOLS: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


def exporters(signal: str, environ: Mapping[str, str]) -> Iterator[Any]:
    """New exporters for a signal, where the environment asks for any.

    ``OTEL_<SIGNAL>_EXPORTER`` names them; without it, an ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or that
    of the signal) means "otlp". (OpenTelemetry specification, "Environment Variable".)

    Args:
        signal: "traces" or "metrics".
        environ: of the process.

    Raises:
        ConfigurationError: a variable names an exporter or protocol that is not installed, or an
            exporter cannot be made of its variables.
    """
    for name in _names(signal, environ):
        entry = _PROTOCOLS[_protocol(signal, environ)] if name == "otlp" else name
        exporter = _load(f"opentelemetry_{signal}_exporter", entry, signal)
        try:
            yield exporter()
        except Exception as error:
            raise ConfigurationError(
                f"OTEL_{signal.upper()}_EXPORTER={name!r} cannot be set up: {error}; "
                f"from: {_settings(environ)}"
            ) from error


def _settings(environ: Mapping[str, str]) -> str:
    """The variables an exporter reads, but for headers, which hold secrets."""
    found = [
        f"{name}={value!r}"
        for name, value in sorted(environ.items())
        if name.startswith("OTEL_EXPORTER_") and "HEADERS" not in name
    ]
    return ", ".join(found) or "no OTEL_EXPORTER_* variable"


def _names(signal: str, environ: Mapping[str, str]) -> list[str]:
    variable = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip()
    if not variable:
        endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", _of_signal(signal, "ENDPOINT"))
        return ["otlp"] if any(environ.get(name) for name in endpoints) else []
    names = [name.strip() for name in variable.split(",")]
    return [name for name in names if name and name != "none"]


def _protocol(signal: str, environ: Mapping[str, str]) -> str:
    variable = _of_signal(signal, "PROTOCOL")
    if variable not in environ:
        variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = environ.get(variable, "grpc").strip()  # the Python SDK's default
    if protocol not in _PROTOCOLS:
        raise ConfigurationError(f"{variable}={protocol!r}: expected {' or '.join(_PROTOCOLS)}")
    return protocol


def _of_signal(signal: str, setting: str) -> str:
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_{setting}"


def _load(group: str, name: str, signal: str) -> Any:
    for entry in entry_points(group=group, name=name):
        return entry.load()
    known = ", ".join(sorted({entry.name for entry in entry_points(group=group)}))
    raise ConfigurationError(
        f"OTEL_{signal.upper()}_EXPORTER={name!r}: no such exporter is installed; known: {known}"
    )
