"""Progress: how work on whole files tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the part that is done, 0 to 1.
Progress = Callable[[float], None]
