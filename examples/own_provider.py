"""The OpenTelemetry way: one processor beside your exporters; spans say who and which call."""

from __future__ import annotations

from openai import OpenAI
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_atm as atm
from otel_atm.testing import ProviderServer


def main() -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    provider.add_span_processor(
        atm.TokenSpanProcessor(budgets=["1 requests / minute per user"], store=None)
    )
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    with ProviderServer() as server, atm.context(user="ann", team="ml", tags=["example"]):
        client = OpenAI(base_url=server.openai_url, api_key="unused")
        for _ in range(2):
            try:
                client.embeddings.create(model="text-embedding-3-small", input="four little words")
            except atm.TokenQuotaExceeded as refused:
                print(refused, "\n")
    for span in spans.get_finished_spans():
        ours = {key: value for key, value in (span.attributes or {}).items() if "atm." in key}
        print(span.name, span.status.status_code.name, ours)


if __name__ == "__main__":
    main()
