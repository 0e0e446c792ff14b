"""Protocols of otel-atm as small executable models, and every way they can run."""
