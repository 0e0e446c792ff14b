"""For MkDocs: docstrings mark a literal block with ``::``, which Markdown would show as it is."""

from __future__ import annotations

import re
from typing import Any


def on_page_content(html: str, **_: Any) -> str:
    """Show ``text::`` as ``text:``, and a ``::`` of its own not at all."""
    return re.sub(r"<p>::</p>\n?", "", html).replace("::</p>", ":</p>")
