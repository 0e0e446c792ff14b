"""LLMPayload: what one says of a request or an answer at once, as agent-atm does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(slots=True)
class LLMPayload:
    """A request or an answer, for `otel_atm.add_user_request` and `otel_atm.add_model_response`.

    ::

        payload = LLMPayload(token_count_override=45, model_id="gpt-5.1", event_type="request")

    Attributes:
        content: the text, to be counted; it is kept nowhere, and not shown.
        token_count_override: tokens; goes before whatever `content` comes to.
        model_id: the model.
        event_type: "request" or "response"; None: as the function that takes it.
        username, session_id, app_id: who pays; go before the context's.
    """

    content: str | None = field(default=None, repr=False)
    token_count_override: int | None = None
    model_id: str | None = None
    event_type: Literal["request", "response"] | None = None
    username: str | None = None
    session_id: str | None = None
    app_id: str | None = None
    _additional_metadata_tags: Sequence[str] = ()
    _additional_metadata_config: Mapping[str, Any] = field(default_factory=dict)
