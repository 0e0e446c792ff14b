"""One file, three libraries of data frames: pandas, polars, Ibis.

pip install 'otel-atm[demo,dashboards,ibis]' polars
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import ibis
from openai import OpenAI
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

import otel_atm as atm
from otel_atm.charts import questions
from otel_atm.testing import ProviderServer

CALLS = [("ann", "ml", "gpt-5.1"), ("bob", "ml", "gpt-5.1-mini"), ("cid", "ops", "gpt-5.1")] * 4


def main() -> None:
    store = Path(tempfile.mkdtemp()) / "tokens.duckdb"
    make_calls(store)
    with atm.connect(store) as db:
        print(with_pandas(db), end="\n\n")
        print(with_polars(db), end="\n\n")
        print(with_ibis(db))


def with_pandas(db: atm.Reader) -> object:
    """Narrow down in SQL, go on in pandas."""
    frame = db.sql("select team, model, total_tokens from usage_events").df()
    return frame.pivot_table(index="team", columns="model", values="total_tokens", aggfunc="sum")


def with_polars(db: atm.Reader) -> object:
    """The same in polars; rows come over as Arrow."""
    frame = db.sql("select team, model, total_tokens from usage_events").pl()
    return frame.pivot("model", index="team", values="total_tokens", aggregate_function="sum").sort(
        "team"
    )


def with_ibis(db: atm.Reader) -> object:
    """An expression over the table's columns; the Reader runs its SQL, here or in ClickHouse."""
    events = questions.usage_events()
    per_team = (
        events.group_by("team")
        .agg(users=events.user_id.nunique(), tokens_a_call=events.total_tokens.mean())
        .order_by("team")
    )
    return db.sql(ibis.to_sql(per_team, dialect="duckdb")).df()


def make_calls(store: Path) -> None:
    OpenAIInstrumentor().instrument()
    atm.init(store=store)
    with ProviderServer() as server:
        client = OpenAI(base_url=server.openai_url, api_key="unused")
        for user, team, model in CALLS:
            with atm.context(user=user, team=team):
                client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "How are you?"}]
                )


if __name__ == "__main__":
    main()
