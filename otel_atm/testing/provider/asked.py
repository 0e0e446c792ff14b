"""What a request asks for, without its words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """The facts of a request that its token usage may depend on.

    `path` is the URL path, `model` the name as sent, and `stream` whether server-sent events are
    wanted. `characters` is the length of all prompt texts together. `max_output_tokens` is the
    limit the client set; None when it set none.
    """

    path: str
    model: str
    stream: bool
    characters: int
    max_output_tokens: int | None
