"""Shapes: the wire formats in which one asks a model, and in which it answers."""

from __future__ import annotations

from enum import StrEnum


class Shape(StrEnum):
    """A wire format. Many providers share one; one provider may have several."""

    CHAT = "openai.chat"  # also Mistral, Groq, DeepSeek, xAI, Perplexity, vLLM, LiteLLM's proxy …
    COMPLETIONS = "openai.completions"
    RESPONSES = "openai.responses"
    EMBEDDINGS = "openai.embeddings"
    MESSAGES = "anthropic.messages"  # also Claude on Vertex AI
    GENERATE = "gemini.generate_content"
    GEMINI_EMBED = "gemini.embed_content"
    PREDICT = "vertex.predict"  # embeddings only
    COHERE_CHAT = "cohere.chat"
    COHERE_EMBED = "cohere.embed"
    OLLAMA = "ollama.chat"
    OLLAMA_EMBED = "ollama.embed"
    CONVERSE = "bedrock.converse"
    INVOKE = "bedrock.invoke"  # in whatever format the model has
