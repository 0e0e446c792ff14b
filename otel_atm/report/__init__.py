"""The report: what a DuckDB file says, for a terminal and as JSON.

The demo and ``otel-atm report`` print the same one.
"""

from otel_atm.report.next_steps import render_next
from otel_atm.report.reading import Report, as_json, read
from otel_atm.report.text import render, terminal_width

__all__ = ["Report", "as_json", "read", "render", "render_next", "terminal_width"]
