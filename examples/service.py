"""A service that never stops: some users ask, again and again, and every call goes into the file.

Leave it running and open `live.ipynb` beside it.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import suppress

from openai import OpenAI
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

import otel_atm as atm
from otel_atm.testing import ProviderServer

USERS = {"ann": "ml", "bob": "ml", "cid": "ops"}


def main() -> None:
    path = os.environ.get("ATM_DB", "tokens.duckdb")
    OpenAIInstrumentor().instrument()
    atm.init(budgets=["500 tokens / hour per user"], store=path)
    print(f"writing to {path}; stop me with Ctrl-C", flush=True)
    with ProviderServer() as server:
        client = OpenAI(base_url=server.openai_url, api_key="unused")
        for user, team in itertools.cycle(USERS.items()):
            with atm.context(user=user, team=team, app="service"):
                ask(client)
            time.sleep(0.1)


def ask(client: OpenAI) -> None:
    with suppress(atm.TokenQuotaExceeded):  # a real one answers 429 here: see http_429.py
        client.chat.completions.create(
            model="gpt-5.1", messages=[{"role": "user", "content": "How are you?"}]
        )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
