"""What an application tells of requests and answers by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_atm.handle import teller

_KEYWORDS: Final = (
    *("token_count", "model_id", "username", "session_id", "app_id"),
    *("_additional_metadata_tags", "_additional_metadata_config"),
)


def _given(*values: object) -> dict[str, Any]:
    """What was said beside a request or an answer, by keyword; one value for each, in order."""
    return dict(zip(_KEYWORDS, values, strict=True))


def add_user_request(
    request: object = None,
    *,
    token_count: int | None = None,
    model_id: str | None = None,
    username: str | None = None,
    session_id: str | None = None,
    app_id: str | None = None,
    _additional_metadata_tags: Sequence[str] | None = None,
    _additional_metadata_config: Mapping[str, Any] | None = None,
) -> str:
    """Tell of a request to a model before it is sent: it is counted, charged, or refused.

    ::

        with otel_atm.context(username="ann"):
            otel_atm.add_user_request("Where is my parcel?", model_id="gpt-5.1")

    Its row is written at once; the answer that `add_model_response` tells next, of the same payer
    and model, is the row's next revision. If a guard or a span sees the call itself, that is the
    call, with what was told here of who pays, and nothing is counted twice.

    Args:
        request: a text, a list of messages or contents, or the whole body that is sent, as dicts or
            a client's objects: it is counted and not kept. Or `otel_atm.types.LLMPayload`.
        token_count: tokens, if they are known; then `request` is not looked at.
        model_id: the model.
        username: who pays; goes before the context's.
        session_id: the same.
        app_id: the same.
        _additional_metadata_tags: labels.
        _additional_metadata_config: further keys, kept among the row's attributes.

    Returns:
        The id of the row.

    Raises:
        TokenQuotaExceeded: a budget refuses it; nothing is charged.
        ConfigurationError: an argument cannot be used, or there was no `init`.
        Exception: whatever a hook before it raises.
    """
    given = _given(
        token_count,
        model_id,
        username,
        session_id,
        app_id,
        _additional_metadata_tags,
        _additional_metadata_config,
    )
    return teller().ask(request, given)


def add_model_response(
    response: object = None,
    *,
    token_count: int | None = None,
    model_id: str | None = None,
    username: str | None = None,
    session_id: str | None = None,
    app_id: str | None = None,
    _additional_metadata_tags: Sequence[str] | None = None,
    _additional_metadata_config: Mapping[str, Any] | None = None,
) -> str | None:
    """Tell of an answer of a model: what it used is charged, whatever is left.

    Past a blocking quota the answer is there, and paid; the next request is refused.

    Args:
        response: of a provider's client (google-genai, openai, anthropic, mistral, cohere, bedrock,
            ollama; an object, a dict, or the last chunk of a stream): its usage is the provider's,
            also of the request. Or a text, which is counted and not kept, or
            `otel_atm.types.LLMPayload`. None: it has no text; charged as such answers are.
        token_count: tokens of the answer alone, if they are known.
        model_id: as of `add_user_request`, as are all others.
        username: the same.
        session_id: the same.
        app_id: the same.
        _additional_metadata_tags: the same.
        _additional_metadata_config: the same.

    Returns:
        The id of the row: the request's, or one of its own with 0 calls if nobody told of the
        request. None: a guard or a span has seen the call, and its row tells.

    Raises:
        ConfigurationError: an argument cannot be used, or there was no `init`.
        Exception: whatever a hook before it raises.
    """
    given = _given(
        token_count,
        model_id,
        username,
        session_id,
        app_id,
        _additional_metadata_tags,
        _additional_metadata_config,
    )
    return teller().answer(response, given)
