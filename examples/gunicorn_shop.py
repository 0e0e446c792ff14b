"""A shop under gunicorn: four workers, forked from one program, share one budget and one file.

python examples/gunicorn_shop.py
curl -i -H 'x-user: ann' http://127.0.0.1:8080
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from openai import OpenAI
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

import otel_atm as atm
from otel_atm.testing import ProviderServer

COMMAND = (
    *(sys.executable, "-m", "gunicorn", "--preload", "--workers", "4"),
    *("--chdir", str(Path(__file__).parent), "gunicorn_shop:make_app()"),
)


def make_app() -> Callable[..., Iterable[bytes]]:
    """Of WSGI. With --preload this runs once, before the workers are forked.

    otel-atm notices the fork: each worker writes rows of its own, and all of them count in the
    ledger that lies beside the file.
    """
    OpenAIInstrumentor().instrument()
    path = os.environ.get("ATM_DB", "tokens.duckdb")
    atm.init(budgets=["10 requests / day per user"], store=path)
    client = OpenAI()  # connects with its first request, so in the worker

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = [("Content-Type", "text/plain"), ("X-Worker", str(os.getpid()))]
        user = environ.get("HTTP_X_USER", "nobody")  # yours is of a session that you have checked
        try:
            with atm.context(user=user, app="shop"):
                answer = client.chat.completions.create(
                    model="gpt-5.1", messages=[{"role": "user", "content": "How are you?"}]
                )
        except atm.TokenQuotaExceeded as refused:
            start_response("429 Too Many Requests", headers)
            return [f"{refused}\n".encode()]
        start_response("200 OK", headers)
        return [f"{answer.choices[0].message.content}\n".encode()]

    return app


def main() -> None:
    """Run it against a local provider."""
    with ProviderServer() as server:
        settings = {"OPENAI_BASE_URL": server.openai_url, "OPENAI_API_KEY": "unused"}
        command = [*COMMAND, "--bind", "127.0.0.1:8080"]
        subprocess.run(command, env={**os.environ, **settings}, check=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
