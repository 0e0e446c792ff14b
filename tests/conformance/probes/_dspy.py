"""What one does with DSPy, whose models its own client asks, or litellm."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import dspy

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way


def dspy_ways(server: ProviderServer) -> Mapping[str, Way]:
    """A model alone and in modules; an answer that is cached is no call."""

    def make(*, cache: bool = False, **more: Any) -> dspy.LM:
        told = {"api_base": server.openai_url, "api_key": "k", "temperature": 0.0}
        return dspy.LM("openai/gpt-4o-mini", cache=cache, **told, **more)

    dspy.configure_cache(enable_disk_cache=False)
    times = count()

    def cached(text: str, **more: Any) -> None:
        new = f"{text} For the {next(times)}th time."  # nobody has asked this before
        for _ in range(3):
            make(cache=True, **more)(new)

    async def model_async(text: str, **more: Any) -> None:
        await make(**more).acall(text)

    def predict(text: str, **more: Any) -> None:
        with dspy.context(lm=make(**more), adapter=_Words()):
            dspy.Predict("question -> answer")(question=text)

    async def streamed(text: str, **more: Any) -> None:
        with dspy.context(lm=make(**more), adapter=_Words()):
            program = dspy.streamify(dspy.Predict("question -> answer"))
            async for _ in program(question=text):
                pass

    def ways_of(**more: Any) -> dict[str, Way]:
        return {
            "model": Way(lambda text: make(**more)(text)),
            "model async": Way(lambda text: asyncio.run(model_async(text, **more))),
            "model responses": Way(lambda text: make(model_type="responses", **more)(text)),
            "model cached": Way(
                lambda text: cached(text, **more), note="asked three times, once sent"
            ),
            "predict": Way(lambda text: predict(text, **more)),
            "predict stream": Way(lambda text: asyncio.run(streamed(text, **more))),
        }

    by_litellm = ways_of(engine="litellm")
    unasked = replace(by_litellm["predict stream"], told=False, note="does not ask for its usage")
    by_litellm["predict stream"] = unasked
    return ways_of() | {f"litellm {name}": way for name, way in by_litellm.items()}


class _Words(dspy.ChatAdapter):
    """Takes whatever words come for the answer: the provider does not know DSPy's format."""

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        return dict.fromkeys(signature.output_fields, completion)
