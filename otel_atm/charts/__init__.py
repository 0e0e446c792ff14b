"""Charts: SQL in files, rows as values, and pure functions of rows that draw them.

`queries` asks a Reader, `table` draws for a terminal, `figures` for a notebook or a page. Only
`figures` needs plotly, of the extra ``dashboards``.
"""
