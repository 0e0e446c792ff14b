"""Requests that are refused."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 - it may be the server's fault as well as the client's
    """Why a request gets an error.

    `status` is the HTTP status. `message` is the text for the client, None for the provider's own
    for this status. `param` is the field at fault, None for the request as a whole. `code` is
    OpenAI's short name of the problem, None for its usual one.
    """

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
