"""Two users, one budget text: each has 60 tokens a day, and one of them uses them up."""

from __future__ import annotations

import tempfile
from pathlib import Path

from openai import OpenAI
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

import otel_atm as atm
from otel_atm.testing import ProviderServer


def main() -> None:
    store = Path(tempfile.mkdtemp()) / "tokens.duckdb"
    OpenAIInstrumentor().instrument()
    atm.init(budgets=["60 tokens / day per user"], store=store, default_hold=20)
    with ProviderServer() as server:
        client = OpenAI(base_url=server.openai_url, api_key="unused")
        for user, calls in (("ann", 5), ("bob", 2)):
            with atm.context(user=user):
                ask(client, user, calls)
        print(f"\nThe provider saw {server.requests} requests. In {store}:\n")
    with atm.connect(store) as db:
        print(
            db.sql(
                "select user_id, decision, sum(calls) as calls, sum(total_tokens) as tokens "
                "from usage_events group by all order by all"
            )
        )


def ask(client: OpenAI, user: str, calls: int) -> None:
    for number in range(1, calls + 1):
        try:
            answer = client.chat.completions.create(
                model="gpt-5.1", messages=[{"role": "user", "content": "How are you?"}]
            )
        except atm.TokenQuotaExceeded as refused:
            print(f"{user} call {number}: refused. {refused}")
        else:
            assert answer.usage is not None
            print(f"{user} call {number}: {answer.usage.total_tokens} tokens")


if __name__ == "__main__":
    main()
