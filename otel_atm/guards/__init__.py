"""Guards of clients, their pure part: bytes of requests and answers in, values out."""

from otel_atm.guards.answers import Answer, read_answer
from otel_atm.guards.hosts import Hosts
from otel_atm.guards.include_usage import WithoutUsage, include_usage, is_usage_only
from otel_atm.guards.requests import Request, recognise
from otel_atm.guards.shape import Shape
from otel_atm.guards.streams import StreamWatch

__all__ = [
    "Answer",
    "Hosts",
    "Request",
    "Shape",
    "StreamWatch",
    "WithoutUsage",
    "include_usage",
    "is_usage_only",
    "read_answer",
    "recognise",
]
