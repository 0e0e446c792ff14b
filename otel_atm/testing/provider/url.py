"""What the URL of a request says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Url:
    """Where a request arrived.

    `path` is without the query. `named` is what the variable parts of the path are, e.g. a model,
    and `query` what stands behind the question mark.
    """

    path: str
    named: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
