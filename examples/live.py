# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Beside a running service
#
# Start `python examples/service.py` in a terminal and leave it running. It writes to the file that
# this notebook reads: `ATM_DB`, else `tokens.duckdb` in the folder where each was started. Set
# `ATM_DB` for both if these differ.

# %%
import os
import time

import plotly.io as pio

import otel_atm
from otel_atm.charts import figures, queries

for name in pio.renderers:  # Plotly's charts offer to upload their data; not these
    if hasattr(pio.renderers[name], "config"):
        pio.renderers[name].config = dict(figures.CONFIG)
pio.renderers.default = "plotly_mimetype+notebook"

db = otel_atm.connect(os.environ.get("ATM_DB", "tokens.duckdb"))


def count() -> int:
    """How many calls the service has made so far, refused ones included."""
    return db.sql("select coalesce(sum(calls), 0) from usage_events").fetchall()[0][0]


# %% [markdown]
# Each query takes in what the service has written since, opens the file for as long as it runs, and
# closes it. Between two queries the file is free, so this notebook may stay open for days.

# %%
before = count()
deadline = time.monotonic() + 60
while count() == before and time.monotonic() < deadline:
    time.sleep(0.5)
print(f"{before} calls, then {count()}")

# %% [markdown]
# The last minutes, as they are when you run the cell. Run it again.

# %%
figures.tokens_over_time(queries.tokens_over_time(db, width_s=1), width_s=1)

# %% [markdown]
# Any question of your own, as a pandas data frame. `db.stale_s` says by how many seconds the answer
# may be behind: 0.0, unless the file could not be written to.

# %%
frame = db.sql(
    """
    select user_id as user, decision,
        sum(calls)::bigint as calls, sum(total_tokens)::bigint as tokens
    from usage_events group by all order by all
    """
).df()
print(f"{db.stale_s} s behind")
frame.head(20)

# %%
frame.pivot_table(index="user", columns="decision", values="calls", fill_value=0)
