"""Clients: what programs call models with, and how each sends its requests. New ones are rows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class Client(NamedTuple):
    """A package that sends requests to models.

    Attributes:
        name: of the distribution.
        module: whose being loaded says that it is in use.
        transports: from which major version on → the packages that it sends with. Empty for one
            that sends with other clients.
        optional: packages that it sends with where they happen to be installed.
        over: the clients that it sends with.
        tested: major versions that were run against a guard.
        beside: ways to spend tokens with it that no door sees.
        instead: what to use where its requests cannot be refused.
        posts: URLs that it posts to, one of each kind; a test holds them against the guards.
    """

    name: str
    module: str
    transports: Mapping[int, tuple[str, ...]] = _NOTHING
    optional: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    tested: tuple[int, ...] = ()
    beside: tuple[str, ...] = ()
    instead: str = ""
    posts: tuple[str, ...] = ()

    def sends_with(self, major: int | None) -> tuple[str, ...]:
        """The packages that a major version sends with; None: the newest that is known."""
        fitting = [at for at in self.transports if major is None or at <= major]
        return self.transports[max(fitting)] if fitting else ()


def _framework(name: str, *over: str) -> Client:
    return Client(name, name.replace("-", "_"), over=over)


_BATCHES: Final = "batches"
_REALTIME: Final = "Realtime over websockets"

#: LlamaIndex has a distribution for each: ``llama_index.llms.openai``.
_LLAMA: Final = {
    "openai": "openai",
    "azure-openai": "openai",
    "openai-like": "openai",
    "anthropic": "anthropic",
    "google-genai": "google-genai",
    "mistralai": "mistralai",
    "cohere": "cohere",
    "groq": "openai",
    "ollama": "ollama",
    "bedrock-converse": "boto3",
    "vertex": "google-cloud-aiplatform",
    "litellm": "litellm",
}

CLIENTS: Final = (
    Client(
        "openai",
        "openai",
        {0: ("requests", "aiohttp"), 1: ("httpx",), 3: ("httpx2",)},
        tested=(2, 3),
        beside=(_BATCHES, _REALTIME),
        posts=(
            "https://api.openai.com/v1/chat/completions",
            "https://api.openai.com/v1/responses",
            "https://api.openai.com/v1/embeddings",
            "https://acme.openai.azure.com/openai/deployments/gpt-5/chat/completions",
        ),
    ),
    Client(
        "anthropic",
        "anthropic",
        {0: ("httpx",), 2: ("httpx2",)},
        tested=(0, 2),
        beside=(_BATCHES,),
        posts=("https://api.anthropic.com/v1/messages",),
    ),
    Client(
        "google-genai",
        "google.genai",
        {0: ("httpx",), 3: ("httpx2",)},
        optional=("aiohttp",),
        tested=(2, 3),
        beside=(_BATCHES, "Live over websockets"),
        posts=(
            "https://generativelanguage.googleapis.com/v1beta/models/gemini:generateContent",
            "https://generativelanguage.googleapis.com/v1beta/models/gemini:batchEmbedContents",
        ),
    ),
    Client(
        "mistralai",
        "mistralai",
        {0: ("httpx",), 3: ("httpx2",)},
        tested=(3,),
        beside=(_BATCHES,),
        posts=("https://api.mistral.ai/v1/chat/completions",),
    ),
    Client(
        "cohere",
        "cohere",
        {0: ("requests", "aiohttp"), 5: ("httpx",)},
        tested=(7,),
        posts=("https://api.cohere.com/v2/chat", "https://api.cohere.com/v2/embed"),
    ),
    Client(
        "ollama",
        "ollama",
        {0: ("httpx",)},
        tested=(0,),
        posts=("http://127.0.0.1:11434/api/chat",),
    ),
    Client(
        "groq",
        "groq",
        {0: ("httpx",)},
        tested=(1,),
        beside=(_BATCHES,),
        posts=("https://api.groq.com/openai/v1/chat/completions",),
    ),
    Client(
        "together",
        "together",
        {0: ("requests", "aiohttp"), 2: ("httpx",)},
        tested=(3,),
        beside=(_BATCHES,),
        posts=("https://api.together.xyz/v1/chat/completions",),
    ),
    Client(
        "fireworks-ai",
        "fireworks",
        {0: ("httpx",)},
        beside=(_BATCHES,),
        posts=("https://api.fireworks.ai/inference/v1/chat/completions",),
    ),
    Client(
        "cerebras-cloud-sdk",
        "cerebras.cloud.sdk",
        {0: ("httpx",)},
        posts=("https://api.cerebras.ai/v1/chat/completions",),
    ),
    Client(
        "perplexityai",
        "perplexity",
        {0: ("httpx",)},
        posts=("https://api.perplexity.ai/chat/completions",),
    ),
    Client(
        "huggingface-hub",
        "huggingface_hub",
        {0: ("requests", "aiohttp"), 1: ("httpx",), 2: ("httpx2",)},
        posts=("https://router.huggingface.co/v1/chat/completions",),
    ),
    Client(
        "litellm",
        "litellm",
        {0: ("httpx",)},
        tested=(1,),
        posts=("https://api.anthropic.com/v1/messages",),
    ),
    Client(
        "dspy",
        "dspy",
        {0: ("httpx",), 3: ("dspy", "httpx")},
        tested=(3,),
        posts=(
            "https://api.openai.com/v1/chat/completions",
            "https://api.openai.com/v1/responses",
            "https://api.anthropic.com/v1/messages",
        ),
    ),
    Client(
        "lm15",
        "lm15",
        {0: ("lm15",)},
        tested=(1,),
        posts=("https://api.openai.com/v1/chat/completions",),
    ),
    Client(
        "boto3",
        "boto3",
        {0: ("botocore",)},
        instead="Bedrock's OpenAI-compatible endpoint, with openai",
    ),
    Client(
        "aiobotocore",
        "aiobotocore",
        {0: ("aiobotocore",)},
        instead="Bedrock's OpenAI-compatible endpoint, with openai",
    ),
    Client(
        "azure-ai-inference",
        "azure.ai.inference",
        {0: ("requests",)},
        optional=("aiohttp",),
        instead="openai, which speaks to Azure, too",
    ),
    Client(
        "google-cloud-aiplatform",
        "vertexai.generative_models",
        {0: ("grpcio",)},
        beside=(_BATCHES,),
        instead="google-genai, which speaks to Vertex AI, too",
    ),
    Client(
        "langchain-mistralai",
        "langchain_mistralai",
        {0: ("httpx",)},
        posts=("https://api.mistral.ai/v1/chat/completions",),
    ),
    _framework("langchain-openai", "openai"),
    _framework("langchain-anthropic", "anthropic"),
    _framework("langchain-google-genai", "google-genai"),
    _framework("langchain-google-vertexai", "google-cloud-aiplatform"),
    _framework("langchain-aws", "boto3"),
    _framework("langchain-cohere", "cohere"),
    _framework("langchain-groq", "groq"),
    _framework("langchain-ollama", "ollama"),
    _framework("langchain-together", "openai"),
    _framework("langchain-fireworks", "fireworks-ai"),
    _framework("langchain-huggingface", "huggingface-hub"),
    _framework("langchain-litellm", "litellm"),
    _framework("openai-agents", "openai"),
    *(
        Client(
            f"llama-index-llms-{name}",
            f"llama_index.llms.{name.replace('-', '_')}",
            over=(client,),
        )
        for name, client in _LLAMA.items()
    ),
)
BY_NAME: Final = {client.name: client for client in CLIENTS}

#: What runs models in this process: nothing is sent, so there is nothing to count.
LOCAL: Final = ("transformers", "llama-cpp-python", "vllm")

#: Packages that anything can be sent with, by hand: distribution → (module, what is sent).
TRANSPORTS: Final = {
    "httpx": ("httpx", "requests"),
    "httpx2": ("httpx2", "requests"),
    "aiohttp": ("aiohttp", "requests"),
    "lm15": ("lm15", "requests"),
    "dspy": ("dspy.lm15", "requests"),
    "botocore": ("botocore", "calls of Bedrock"),
    "aiobotocore": ("aiobotocore", "calls of Bedrock"),
    "requests": ("requests", "requests"),
    "urllib3": ("urllib3", "requests"),
    "grpcio": ("grpc", "gRPC calls"),
    "websockets": ("websockets", "Realtime sessions"),
}
