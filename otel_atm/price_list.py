"""The public prices: those of genai-prices, in our terms.

Its table is part of the package. Its own searching and reckoning are not used: they take up to
300 µs for a call, and remember every name they are ever asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Final

import genai_prices
from genai_prices.data import providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
)

from otel_atm.price import EVER, Price, Tariff, make_tariff
from otel_atm.window import SECOND_NS, instant

#: Names of providers as emitters have them, in lower case → those of genai-prices, best first. The
#: OpenTelemetry registry (``gen_ai.provider.name``), then what came before it and what others use.
#: Names that are not here are tried as they are.
PROVIDERS: Final = {
    "anthropic": "anthropic",
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "groq": "groq",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "openai": "openai",
    "perplexity": "perplexity",
    "x_ai": "x-ai",
    # older, and of other emitters
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "google": "google",
    "google_genai": "google",
    "microsoft.foundry": "azure",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "vertex_ai": "google",
    "vertexai": "google",
    "xai": "x-ai",
}
_BY_ID: Final = {each.id: each for each in providers}
#: Providers that run a model on the user's own machine: what its maker charges says nothing.
OWN_MACHINES: Final = frozenset(
    {"llama_cpp", "llamacpp", "lm_studio", "lmstudio", "ollama", "sglang", "vllm"}
)
# what emitters and gateways put around the name of a model, from the outside in
_AROUND: Final = (
    re.compile(r"^(?:.*[/:])?(?:models|foundation-model|inference-profile)/"),
    re.compile(r"@[\w.-]+$"),  # Vertex AI: a version
    re.compile(r"(?:-v\d+)?(?::\d+k?)+$"),  # Bedrock: a revision
    re.compile(r"^(?:apac|au|ca|eu|global|jp|sa|us|us-gov)\."),  # Bedrock: where it runs
)
_BEDROCK: Final = re.compile(r"(?:[a-z-]+\.)?(?:ai21|amazon|anthropic|cohere|meta|mistral)\.")

_DAY_NS: Final = 86_400 * SECOND_NS
_UNCACHED, _READ, _WRITE = "input_mtok", "cache_read_mtok", "cache_write_mtok"
_OUTPUT, _REASONING, _REQUESTS = "output_mtok", "output_reasoning_mtok", "requests_kcount"
#: What a call is charged for that we count; the first five in the order of `Rates`.
_COUNTED: Final = (_UNCACHED, _READ, _WRITE, _OUTPUT, _REASONING, _REQUESTS)
# what is charged like something else where it has no price of its own
_INSTEAD: Final = {_READ: _UNCACHED, _WRITE: _UNCACHED, _REASONING: _OUTPUT}


def timeline(provider: str | None, model: str) -> tuple[tuple[int, Price], ...]:
    """The prices of a model, and from when on, in nanoseconds since the epoch: the latest first.

    Args:
        provider: as emitters name it; None: not known.
        model: as emitters name it.

    Returns:
        Empty for a model that is not in the list, or whose price is for what is not counted here,
        such as minutes or pages.
    """
    found = find_model(provider, model)
    return prices_of(found) if found else ()


def prices_of(model: ModelInfo) -> tuple[tuple[int, Price], ...]:
    """The same for a model of genai-prices."""
    if not _is_counted(model):
        return ()
    version = f"genai-prices {genai_prices.__version__}"
    if isinstance(model.prices, ModelPrice):
        return ((EVER, Price(version, _tariff(model.prices))),)
    first, *later = model.prices
    limits = [each.constraint for each in later if each.constraint is not None]
    starts = [_start_ns(limit) for limit in limits if isinstance(limit, StartDateConstraint)]
    schedule = tuple((_condition(each), _tariff(each.prices)) for each in reversed(later))
    dated = (EVER, Price(version, _tariff(first.prices), schedule))
    if len(starts) < len(later):  # hours of the day
        return (dated,)
    last_ns = max(starts)
    return ((last_ns, Price(version, _tariff(model.get_prices(instant(last_ns))))), dated)


def find_model(provider: str | None, model: str) -> ModelInfo | None:
    """The model in the list of genai-prices: of the provider, else of whoever makes it."""
    if provider is not None and provider.lower() in OWN_MACHINES:
        return None
    tried = list(_spellings(_seller(provider.lower()) if provider else None, model.lower()))
    for seller, name in tried:
        if seller and (found := seller.find_model(name, all_providers=providers)):
            return found
    for _, name in tried:
        maker = _BY_ID["aws"] if _BEDROCK.match(name) else _maker(name)
        if maker and (found := maker.find_model(name, all_providers=providers)):
            return found
    return None


def _spellings(seller: Provider | None, name: str) -> Iterator[tuple[Provider | None, str]]:
    """A name as it is, then with less and less around it, and who sells it under that name."""
    yield seller, name
    for around in _AROUND:
        bare = around.sub("", name)
        if bare and bare != name:
            name = bare
            yield seller, name
    head, _, rest = name.partition("/")
    if rest and (named := _BY_ID.get(PROVIDERS.get(head, head))):
        yield from _spellings(named, rest)


def _seller(name: str) -> Provider | None:
    """A provider by the name that emitters have for it."""
    return _BY_ID.get(PROVIDERS.get(name, name)) or next(
        (each for each in providers if each.provider_match and each.provider_match.is_match(name)),
        None,
    )


def _maker(model: str) -> Provider | None:
    """Who makes a model of this name."""
    return next(
        (each for each in providers if each.model_match and each.model_match.is_match(model)), None
    )


def _is_counted(model: ModelInfo) -> bool:
    """Whether it is free or costs something for tokens or calls, at any time."""
    prices = (
        [model.prices]
        if isinstance(model.prices, ModelPrice)
        else [each.prices for each in model.prices]
    )
    keys = {key for price in prices for key, usd in price.__dict__.items() if usd is not None}
    return not keys or not keys.isdisjoint(_COUNTED)


def _condition(price: ConditionalPrice) -> Callable[[int], bool]:
    """Whether a price holds at a time, in nanoseconds since the epoch."""
    limit = price.constraint
    if limit is None:
        return _always
    if isinstance(limit, StartDateConstraint):
        since_ns = _start_ns(limit)
        return lambda at_ns: at_ns >= since_ns
    start_ns, end_ns = _of_day_ns(limit.start_time), _of_day_ns(limit.end_time)
    length_ns = (end_ns - start_ns) % _DAY_NS  # it may go past midnight
    return lambda at_ns: (at_ns - start_ns) % _DAY_NS < length_ns


def _always(_at_ns: int) -> bool:
    return True


def _start_ns(limit: StartDateConstraint) -> int:
    return _epoch_ns(datetime.combine(limit.start_date, time()))


def _of_day_ns(hour: time) -> int:
    return _epoch_ns(datetime.combine(date(1970, 1, 1), hour)) % _DAY_NS


def _epoch_ns(moment: datetime) -> int:
    """What has no time zone is in UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) * 1_000


def _tariff(price: ModelPrice) -> Tariff:
    given = {key: usd for key in _COUNTED if (usd := getattr(price, key)) is not None}
    kinds = [given.get(key, given.get(_INSTEAD.get(key, key))) for key in _COUNTED[:5]]
    above = {-1}
    for usd in kinds:
        if isinstance(usd, TieredPrices):
            above |= {tier.start for tier in usd.tiers}
    fee = _at(given.get(_REQUESTS), 0) / 1000
    return make_tariff(
        [(start, [_at(usd, start + 1) for usd in kinds]) for start in sorted(above, reverse=True)],
        fee,
    )


def _at(price: Decimal | TieredPrices | None, total: int) -> Fraction:
    """USD where a call has so many input tokens."""
    if price is None:
        return Fraction(0)
    if isinstance(price, TieredPrices):
        tiers = [tier.price for tier in price.tiers if total > tier.start]
        price = tiers[-1] if tiers else price.base
    return Fraction(price)
