"""The examples run as they are printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_a_budget_per_user_refuses_one_user_before_a_request_and_lets_the_other_go_on() -> None:
    output = run("budget_per_user.py")
    assert "ann call 3: 18 tokens" in output
    assert "ann call 4: refused. user='ann' asked for 20 tokens" in output or (
        "ann call 5: refused. user='ann' asked for 20 tokens" in output
    )
    assert "bob call 2: 18 tokens" in output


def test_a_processor_on_a_provider_of_ones_own_marks_the_spans() -> None:
    output = run("own_provider.py")
    assert "user='ann' asked for 1 request, 0 of 1 left this minute" in output
    assert "UNSET {'atm.user': 'ann', 'atm.team': 'ml', 'atm.tags': ('example',)" in output
    assert "'atm.decision': 'refused', 'atm.call_id'" in output


def test_a_web_handler_answers_a_refusal_with_429_and_retry_after() -> None:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from starlette.testclient import TestClient

    import otel_atm as atm
    from examples.http_429 import make_app
    from otel_atm.testing import ProviderServer

    provider = TracerProvider(shutdown_on_exit=False)
    processor = atm.TokenSpanProcessor(budgets=["40 tokens / day per user"], default_hold=20)
    provider.add_span_processor(processor)
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with ProviderServer() as server, TestClient(make_app(server.openai_url)) as client:
            answers = [client.post("/ask", headers={"x-user": "ann"}) for _ in range(4)]
            other = client.post("/ask", headers={"x-user": "bob"})
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            assert 0 < int(answers[-1].headers["retry-after"]) <= 86_400
            assert answers[-1].json() == {
                "budget": "40 tokens / day per user",
                "limit": 40,
                "used": 54,
            }
            assert (other.status_code, server.requests) == (200, 4)
    finally:
        instrumentor.uninstrument()
