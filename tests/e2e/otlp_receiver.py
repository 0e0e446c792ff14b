"""A small OTLP receiver on the loopback, over HTTP and over gRPC, that keeps what it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc


class Span(NamedTuple):
    """A span as it arrived; `error` is the description of a status ERROR, else None."""

    name: str
    scope: str
    span_id: str
    attributes: dict[str, Any]
    error: str | None


class Metric(NamedTuple):
    """A metric as it arrived; `points` are (attributes, value)."""

    name: str
    scope: str
    unit: str
    points: list[tuple[dict[str, Any], float]]


class Receiver:
    """Receives inside of its `with` block.

    Attributes:
        spans: all that came.
        exports: of each export of metrics, name → metric.
        failures: what could not be understood.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.exports: list[dict[str, Metric]] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        self._pool = ThreadPoolExecutor(2)
        self._grpc = grpc.server(self._pool)
        trace_grpc.add_TraceServiceServicer_to_server(_Traces(self), self._grpc)
        metrics_grpc.add_MetricsServiceServicer_to_server(_Metrics(self), self._grpc)
        self._grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._grpc.stop(0).wait()
        self._pool.shutdown()

    def endpoint(self, protocol: str) -> str:
        """What belongs into OTEL_EXPORTER_OTLP_ENDPOINT."""
        port = self._grpc_port if protocol == "grpc" else self._http.server_address[1]
        return f"http://127.0.0.1:{port}"

    def take_traces(self, request: trace_pb.ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [_span(scope.scope.name, span) for span in scope.spans]

    def take_metrics(self, request: metrics_pb.ExportMetricsServiceRequest) -> None:
        found = [
            _metric(scope.scope.name, metric)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        self.exports.append({metric.name: metric for metric in found})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.headers["content-type"] != "application/x-protobuf":
                    receiver.failures.append(self.headers["content-type"])
                if self.path == "/v1/traces":
                    receiver.take_traces(trace_pb.ExportTraceServiceRequest.FromString(body))
                elif self.path == "/v1/metrics":
                    receiver.take_metrics(metrics_pb.ExportMetricsServiceRequest.FromString(body))
                else:
                    receiver.failures.append(self.path)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


class _Traces(trace_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._receiver.take_traces(request)
        return trace_pb.ExportTraceServiceResponse()


class _Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._receiver.take_metrics(request)
        return metrics_pb.ExportMetricsServiceResponse()


def _span(scope: str, span: Any) -> Span:
    failed = span.status.code == span.status.STATUS_CODE_ERROR
    error = span.status.message if failed else None
    return Span(span.name, scope, span.span_id.hex(), _values(span.attributes), error)


def _metric(scope: str, metric: Any) -> Metric:
    data = getattr(metric, metric.WhichOneof("data"))
    points = [
        (_values(point.attributes), getattr(point, point.WhichOneof("value")))
        for point in data.data_points
    ]
    return Metric(metric.name, scope, metric.unit, points)


def _values(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
