"""Fields: where each shape of request says what one wants to know.

Sources: the request schemas of the providers' API references.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from otel_atm.guards.shape import Shape

#: Names of nested fields, from the outside in.
Path: TypeAlias = tuple[str, ...]

#: No call has so many tokens; whoever says so does not know.
MOST_TOKENS: Final = 1 << 40


class Fields(NamedTuple):
    """Where a shape has what.

    Attributes:
        texts: what the model is to read.
        schemas: tools and forms of answers, which it reads as JSON.
        most: the output tokens that an answer may have; the first that is there counts.
        times: how many answers are to be made; the first that is there counts.
        streams: whether answers are streams unless the request says otherwise.
        speaks: whether answers have output tokens at all.
    """

    texts: tuple[str, ...]
    schemas: tuple[Path, ...] = ()
    most: tuple[Path, ...] = ()
    times: tuple[Path, ...] = ()
    streams: bool = False
    speaks: bool = True


FIELDS: Final = {
    Shape.CHAT: Fields(
        ("messages",),
        (("tools",), ("functions",), ("response_format",)),
        (("max_completion_tokens",), ("max_tokens",)),
        (("n",),),
    ),
    Shape.COMPLETIONS: Fields(("prompt", "suffix"), (), (("max_tokens",),), (("best_of",), ("n",))),
    Shape.RESPONSES: Fields(
        ("instructions", "input"), (("tools",), ("text",)), (("max_output_tokens",),)
    ),
    Shape.EMBEDDINGS: Fields(("input",), speaks=False),
    Shape.MESSAGES: Fields(
        ("system", "messages"),
        (("tools",), ("output_config",), ("output_format",)),
        (("max_tokens",),),
    ),
    Shape.GENERATE: Fields(
        ("contents", "systemInstruction", "system_instruction"),
        (
            ("tools",),
            ("generationConfig", "responseSchema"),
            ("generationConfig", "responseJsonSchema"),
        ),
        (("generationConfig", "maxOutputTokens"), ("generation_config", "max_output_tokens")),
        (("generationConfig", "candidateCount"), ("generation_config", "candidate_count")),
    ),
    Shape.GEMINI_EMBED: Fields(("content", "requests"), speaks=False),
    Shape.PREDICT: Fields(("instances",), speaks=False),
    Shape.COHERE_CHAT: Fields(
        ("messages", "message", "preamble", "chat_history", "documents"),
        (("tools",), ("response_format",)),
        (("max_tokens",),),
    ),
    Shape.COHERE_EMBED: Fields(("texts", "inputs", "images"), speaks=False),
    Shape.OLLAMA: Fields(
        ("messages", "prompt", "system", "suffix", "images"),
        (("tools",), ("format",)),
        (("options", "num_predict"),),
        streams=True,
    ),
    Shape.OLLAMA_EMBED: Fields(("input", "prompt"), speaks=False),
    Shape.CONVERSE: Fields(
        ("system", "messages"), (("toolConfig",),), (("inferenceConfig", "maxTokens"),)
    ),
    Shape.INVOKE: Fields(  # Claude, Nova, Titan, Llama, Mistral, Cohere
        ("system", "messages", "prompt", "inputText", "message", "texts"),
        (("tools",), ("toolConfig",)),
        (
            ("max_tokens",),
            ("max_completion_tokens",),
            ("inferenceConfig", "maxTokens"),
            ("textGenerationConfig", "maxTokenCount"),
            ("max_gen_len",),
        ),
    ),
}

#: The outermost names of all these fields.
NAMES: Final = frozenset(
    {"model", "stream", "stream_options"}
    | {name for row in FIELDS.values() for name in row.texts}
    | {path[0] for row in FIELDS.values() for path in (*row.schemas, *row.most, *row.times)}
)


def at(body: dict[str, Any], path: Path) -> Any:
    """What a path leads to, or None."""
    value: Any = body
    for name in path:
        if type(value) is not dict:
            return None
        value = value.get(name)
    return value


def first_count(body: dict[str, Any], paths: tuple[Path, ...]) -> int | None:
    """The first of these fields that is a number of something, ≥ 0."""
    for path in paths:
        value = at(body, path) if len(path) > 1 else body.get(path[0])
        if type(value) is int and 0 <= value < MOST_TOKENS:
            return value
    return None
