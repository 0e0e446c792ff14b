"""A process that exports spans and metrics until it is killed, and says what was taken.

``python -m tests.exporters.writer PATH``: a line "metrics N" or "spans N" after each export that
returned, N being the last number in it.
"""

from __future__ import annotations

import sys
from itertools import count

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_atm as atm
from tests.conftest import CHAT

BATCH = 20


def main(path: str) -> None:
    spans, metrics = atm.DuckDBSpanExporter(path), atm.DuckDBMetricExporter(path)
    memory, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(memory))
    tracer = tracers.get_tracer("openai")
    reader = InMemoryMetricReader(metrics._preferred_temporality)
    counter = MeterProvider([reader]).get_meter("meter").create_counter("exports")
    for number in count(1):
        for call in range(BATCH):
            used = {"gen_ai.usage.input_tokens": number, "gen_ai.usage.output_tokens": call + 1}
            tracer.start_span("chat", attributes={**CHAT, **used}).end()
        if spans.export(memory.get_finished_spans()) is SpanExportResult.SUCCESS:
            sys.stdout.write(f"spans {number}\n")
        memory.clear()
        counter.add(1)
        data = reader.get_metrics_data()
        assert data is not None
        if metrics.export(data) is MetricExportResult.SUCCESS:
            sys.stdout.write(f"metrics {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
