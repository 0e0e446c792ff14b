"""Spans: the door that OpenTelemetry opens. Recognises LLM spans, refuses, meters."""
