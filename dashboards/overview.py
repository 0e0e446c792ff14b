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
# # Where the tokens go
#
# An overview of one otel-atm file: who spent how many tokens on which model, and whom a budget
# refused. Programs may go on writing while you look: run the notebook again to see their newest
# calls.
#
# It reads the file that `ATM_DB` names, else the demo's (`otel-atm demo` makes one), else
# `tokens.duckdb`, in this folder or in the one above.

# %%
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import plotly.io as pio

import otel_atm
from otel_atm.charts import figures, queries

# Plotly's charts offer to upload their data; not these.
for name in pio.renderers:
    if hasattr(pio.renderers[name], "config"):
        pio.renderers[name].config = dict(figures.CONFIG)
pio.renderers.default = "plotly_mimetype+notebook"

places = [Path(at, name) for name in ("demo.duckdb", "tokens.duckdb") for at in (".", "..")]
path = os.environ.get("ATM_DB") or next(filter(Path.exists, places), "demo.duckdb")
db = otel_atm.connect(path)
print(Path(path).resolve())

# %% [markdown]
# ## When
#
# Everything, unless you set `LAST`, for example to `timedelta(hours=24)`. All times are UTC.

# %%
LAST: timedelta | None = None

during = queries.TimeRange(since=datetime.now(UTC) - LAST if LAST else None)
totals = queries.totals(db, during)
first, last = totals.first_ts, totals.last_ts
print(f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S}" if first and last else "no calls")

# %% [markdown]
# ## In one line
#
# *Refused* calls were stopped before anything was sent: they cost nothing and are not among the
# calls sent. *Estimated* tokens are ours, for calls whose provider did not say what they used; if
# that share is high, the other figures are guesses to the same degree.

# %%
figures.headline(totals)

# %% [markdown]
# ## Over time
#
# A bar is what all calls used that began in it. Look for a model that grows and for bursts: a hard
# budget ends as a burst that stops.

# %%
width_s = queries.width_for(last - first if first and last else timedelta())
figures.tokens_over_time(queries.tokens_over_time(db, width_s, during), width_s)

# %% [markdown]
# ## Who
#
# The users who spent most, by model. The number of refused calls stands beside the bar: somebody
# with a short bar and many refusals shares a budget with somebody who has a long one.

# %%
users = queries.by_user_model(db, during)
figures.top_users(users)

# %% [markdown]
# ## Refused, and by which budget
#
# If one user leads, look at what that user does; if one budget has all of the refusals and many
# users, it is too small for its purpose.

# %%
figures.refusals(queries.refusals(db, during))

# %% [markdown]
# ## What the tokens are
#
# The kinds do not overlap. Much input and little of it from the cache: the beginnings of prompts
# differ, and a provider's cache cannot help. Much reasoning: the answers are short, the bill is
# not.

# %%
figures.token_kinds(queries.token_kinds(db, during))

# %% [markdown]
# ## How long calls take
#
# Half of the calls take no longer than the median, 95 of 100 no longer than the other end of the
# line. Calls that failed or were refused are left out.

# %%
figures.latency(queries.latency(db, during))

# %% [markdown]
# ## Your own question
#
# `db.sql` takes any SELECT over `usage_events` (a row for each call) and `usage_1m` (sums by
# minute), and gives a DuckDB relation: `.df()`, `.pl()`, `.fetchall()`. The file is open only for
# as long as the query runs, so a notebook never keeps a program from writing.

# %%
db.sql(
    """
    select session_id as session, user_id as user, sum(calls) as calls, sum(total_tokens) as tokens
    from usage_events
    where decision <> 'refused'
    group by all
    order by tokens desc
    limit 10
    """
).df()
