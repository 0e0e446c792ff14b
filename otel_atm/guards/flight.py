"""Flight: one call of a client, from its first attempt to its last."""

from __future__ import annotations

from contextvars import ContextVar

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate import Call
from otel_atm.gate.outcome import status_of
from otel_atm.gate.wire import Wire
from otel_atm.guards.answers import Answer
from otel_atm.price import Tokens
from otel_atm.semconv import EMBEDDINGS

#: Exceptions of transports that say that nothing was sent, whichever library they are of.
_UNSENT = frozenset(
    (
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "UnsupportedProtocol",
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "ConnectionTimeoutError",
        "ClientConnectorCertificateError",
        "ClientConnectorSSLError",
        "ClientProxyConnectionError",
        "NonHttpUrlClientError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "ProxyConnectionError",
        "LocalProtocolError",
        "ProxyError",
    )
)


class Flight:
    """What became of the attempts of one call. A client's retries are attempts of one flight.

    Args:
        wire: settles the call.
        error: the base of the client's own errors: a refusal is raised as one of these too, so
            that the client neither wraps nor retries it. None: it is raised as it is.
        bracketed: whether a client's guard ends it; else its one attempt does.

    Attributes:
        call: None before the first attempt.
        attempts: requests that were sent.
        streaming: whether an answer is still on its way.
        refusal: why none may be sent; None while they may.
        busy: whether it takes no further attempt: one is on its way, or was answered, or the client
            has returned.
        failure: of the last attempt; None if it has not failed.
        free: whether no attempt has cost anything.
        frees: whether a request that asks no model frees the call that the span around it opened:
            its client has the same span for whatever it asks. Else the span may well tell what
            was used, of something that no guard knows.
    """

    # What is mostly so is read from the class: this is the hot path.
    call: Call | None = None
    attempts = 0
    streaming = busy = False
    failure: str | None = None
    free = frees = True
    refusal: TokenQuotaExceeded | None = None

    def __init__(
        self, wire: Wire, error: type[Exception] | None = None, *, bracketed: bool = False
    ) -> None:
        self.wire, self.error, self.bracketed = wire, error, bracketed

    def refused(self, refusal: TokenQuotaExceeded) -> TokenQuotaExceeded:
        """The refusal, in the words of the client."""
        self.refusal = refusal if self.error is None else as_error(self.error, refusal)
        return self.refusal

    def status(self, code: int) -> bool:
        """Note the status of an answer; whether it is one that has used something."""
        self.busy = False
        if code < 400:
            self.failure = None
            return True
        self.failure = str(code)
        if not self.bracketed:
            self.end("error", self.failure)
        return False

    def failed(self, error: BaseException) -> None:
        """Note that an attempt has failed without an answer."""
        self.busy = False
        self.failure = type(error).__name__
        if self.failure not in _UNSENT:
            self.free = False  # it may have been answered, and nobody saw it
        if not self.bracketed:
            self.end(status_of(type(error)), self.failure)

    def first_chunk(self) -> None:
        """The answer has begun to come."""
        if self.call is not None and self.call.ttft_us is None:
            self.call.ttft_us = max(0, self.wire.now_ns() - self.call.started_ns) // 1_000

    def answered(self, answer: Answer, *, whole: bool, error: BaseException | None = None) -> None:
        """Settle with what the answer said.

        Args:
            answer: as far as it was seen.
            whole: whether it was seen to its end.
            error: what ended it before.
        """
        call, self.streaming, self.busy = self.call, False, True
        if call is None:
            return
        tokens, call.response_id, exact, _ = answer
        if whole and exact and tokens is not None:  # as nearly all
            self.wire.answered(call, tokens, self.attempts)
            return
        exact = exact and tokens is not None
        if not exact and call.plan.kind.operation != EMBEDDINGS:
            tokens = _at_least(answer, call)
        status, error_type = "ok", None
        if not whole:  # else, whatever its reader does with the rest
            status = "cancelled"
            if error is not None:
                status, error_type = status_of(type(error)), type(error).__name__
        self.wire.end(
            call,
            tokens,
            status,
            error_type,
            estimated=not exact,
            free=False,
            attempts=self.attempts,
        )

    def land(self) -> None:
        """The client has returned: settle what no answer has settled.

        Some return an answer that is an error, and raise it later.
        """
        self.busy = True
        failure = self.failure if self.attempts else None
        self.end("ok" if failure is None else "error", failure)

    def crash(self, failure: BaseException) -> None:
        """The client has raised, the same."""
        self.busy = True
        self.end(status_of(type(failure)), self.failure or type(failure).__name__)

    def end(self, status: str, error_type: str | None) -> None:
        """The client has given up, or has got an answer that nothing is known of."""
        if self.call is None or self.streaming:
            return
        self.wire.end(
            self.call,
            None,
            status,
            error_type,
            estimated=False,
            free=self.free and self.failure is not None,
            attempts=self.attempts,
        )


#: The flight that the client of this context is on; None outside of one.
flying: ContextVar[Flight | None] = ContextVar("otel_atm.flight", default=None)

_kinds: dict[type[Exception], type[TokenQuotaExceeded]] = {}


def _reduce(refusal: TokenQuotaExceeded) -> tuple[object, ...]:
    """In another process it is a plain refusal: there may be no such client there."""
    plain = TokenQuotaExceeded.__new__(TokenQuotaExceeded)
    plain.__dict__.update(refusal.__dict__)
    return plain.__reduce__()


_OF_BOTH = {"__module__": __name__, "__reduce__": _reduce}


def as_error(error: type[Exception], refusal: TokenQuotaExceeded) -> TokenQuotaExceeded:
    """The same refusal, which is also an error of the client's."""
    kind = _kinds.get(error)
    if kind is None:
        kind = _kinds[error] = type(
            TokenQuotaExceeded.__name__, (TokenQuotaExceeded, error), _OF_BOTH
        )
    other = kind.__new__(kind)
    other.__dict__.update(refusal.__dict__)
    other.args = refusal.args
    return other


def _at_least(answer: Answer, call: Call) -> Tokens | None:
    """What was used where the provider's last word is missing: what was seen, else None."""
    estimate = call.estimate or call.plan.estimate
    given, made, *parts = answer.tokens or (0, 0, 0, 0, 0)
    made = max(made, answer.output_seen)
    if not given and not made:
        return None
    read, write, reasoning = parts
    return given or estimate[0], made, read, write, reasoning
