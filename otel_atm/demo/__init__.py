"""The demo: a small program of several users, real but for its provider, under hard budgets.

It needs the extra ``demo``; `otel_atm.demo.program` runs it.
"""
