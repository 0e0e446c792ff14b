"""Hosts: which provider answers there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otel_atm.errors import ConfigurationError

#: Host → provider: ``gen_ai.provider.name`` where OpenTelemetry has a name for it, else the name
#: that emitters use.
KNOWN: Final[Mapping[str, str]] = {
    "api.openai.com": "openai",
    "us.api.openai.com": "openai",
    "eu.api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "api.mistral.ai": "mistral_ai",
    "codestral.mistral.ai": "mistral_ai",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together_ai",
    "api.together.ai": "together_ai",
    "api.fireworks.ai": "fireworks_ai",
    "api.cerebras.ai": "cerebras",
    "ollama.com": "ollama",
    "localhost:11434": "ollama",
    "127.0.0.1:11434": "ollama",
}
#: (how a host begins, how it ends, provider), for those with a region or a resource in their name.
_PATTERNS: Final = (
    ("", ".openai.azure.com", "azure.ai.openai"),
    ("", ".cognitiveservices.azure.com", "azure.ai.openai"),
    ("", ".services.ai.azure.com", "azure.ai.inference"),
    ("", ".models.ai.azure.com", "azure.ai.inference"),
    ("", "-aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("", ".api.openai.com", "openai"),
    ("", ".api.x.ai", "x_ai"),
    ("bedrock-runtime.", ".amazonaws.com", "aws.bedrock"),
    ("bedrock-runtime-fips.", ".amazonaws.com", "aws.bedrock"),
    ("bedrock-runtime.", ".amazonaws.com.cn", "aws.bedrock"),
    ("vpce-", ".vpce.amazonaws.com", "aws.bedrock"),
)
_MOST_NAME: Final = 253  # characters of a host, RFC 1035


class Hosts:
    """The hosts of providers that everybody knows, and those that a user adds.

    What a path says counts at such a host even where the body cannot be read. At any other host
    path and body must both look like a call.

    Args:
        gateways: host → provider, e.g. ``{"llm.acme.dev": "openai"}``. A host is written as in a
            URL, with its port if only that port is meant; ``*.acme.dev`` is every host below it.

    Raises:
        ConfigurationError: a host that cannot be one, or a provider without a name.

    >>> Hosts({"llm.acme.dev": "openai"}).provider("LLM.acme.dev:8443")
    'openai'
    """

    __slots__ = ("_endings", "_exact")

    def __init__(self, gateways: Mapping[str, str] | None = None) -> None:
        self._exact: dict[str, str] = dict(KNOWN)
        self._endings = list(_PATTERNS)
        for written, provider in (gateways or {}).items():
            host = _checked(written, provider)
            if host.startswith("*."):
                self._endings.insert(0, ("", host[1:], provider))
            else:
                self._exact[host] = provider

    def provider(self, host: str) -> str | None:
        """Who answers at a host, with or without a port; None: nobody that we know."""
        host = host.lower()
        found = self._exact.get(host)
        if found is None and len(host) <= 2 * _MOST_NAME:
            name = _without_port(host)
            found = self._exact.get(name) or next(
                (
                    provider
                    for start, end, provider in self._endings
                    if name.endswith(end) and name.startswith(start)
                ),
                None,
            )
        return found

    def __repr__(self) -> str:
        return f"Hosts({len(self._exact) + len(self._endings)} known)"


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host


def _checked(host: str, provider: str) -> str:
    given: object = host
    if (
        not isinstance(given, str)
        or not 0 < len(host) <= _MOST_NAME
        or not host.isascii()
        or set(host) & set("/@?# \t\n")
        or "*" in host.removeprefix("*.")
        or host == "*."
    ):
        raise ConfigurationError(
            "gateways: expected a host such as 'llm.acme.dev', or '*.acme.dev' for all below it, "
            f"not {host!r}"
        )
    named: object = provider
    if not isinstance(named, str) or not named:
        raise ConfigurationError(f"gateways: {host!r} needs the name of a provider")
    return host.lower()


def read_gateways(gateways: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """(host, provider) of each, in one order: equal ones ask for the same.

    Raises:
        ConfigurationError: as `Hosts`; and for what is no mapping.
    """
    if gateways is None:
        return ()
    if not isinstance(gateways, Mapping):
        raise ConfigurationError(
            f"gateways={gateways!r}: expected e.g. {{'llm.acme.dev': 'openai'}}"
        )
    checked = {_checked(host, provider): provider for host, provider in gateways.items()}
    return tuple(sorted(checked.items()))


#: Those that everybody knows.
EVERYBODYS: Final = Hosts()
