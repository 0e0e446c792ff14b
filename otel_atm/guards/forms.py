"""Forms: requests that differ in nothing but what they say, read without parsing them again.

An application asks thousands of times with one model and one bound: its bodies are alike up to
where the messages begin, and from where they end::

    {"messages":[ … ],"model":"gpt-5.1","max_tokens":500}

What makes it exact: all of the beginning and of the end are fields of the outermost object, each
with a plain value, so neither can be part of a text, in which every quote is escaped; and no list
ends in between with another field behind it. Anything else is parsed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from otel_atm.cache import Cache
from otel_atm.guards.text import PLAIN, no_media
from otel_atm.tokenizers.estimate import tokens_in

if TYPE_CHECKING:
    from otel_atm.guards.requests import Request

_MOST_FORMS: Final = 64  # of one place
_MOST_BYTES: Final = 256  # of a beginning, and of an end
_MOST_LISTS: Final = 32  # that may end in between
#: A number, a word of JSON, or a name: nothing that may be what somebody says.
_FIELD: Final = rb'"\w{1,40}":(?:-?\d[\d.]{0,20}|true|false|null|"[\w.:/@-]{0,80}")'
_HEAD: Final = re.compile(rb'\{(?:%b,)*"(?:messages|input|contents|instances)":\[' % _FIELD)
_TAIL: Final = re.compile(rb"\](?:,%b)*\}" % _FIELD)
#: Another field behind a list, in whatever spacing.
_ANOTHER: Final = re.compile(rb'\]\s*,\s*"')


class Forms:
    """The forms of requests that were seen at one place."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: Cache[bytes, tuple[bytes, Request]] = Cache(_MOST_FORMS)

    def find(self, body: bytes) -> tuple[Request, int] | None:
        """A request that is alike but for its text, and the bytes of the text of this one."""
        end = body.rfind(b"]")
        if end < 0 or not len(body) - _MOST_BYTES <= end <= PLAIN:
            return None
        known = self._known.get(body[end:])
        if known is None:
            return None
        head, request = known
        start = len(head)
        if not body.startswith(head) or not _is_text(body, start, end):
            return None
        return request, end - start + 2

    def learn(self, body: bytes, request: Request) -> None:
        """Remember the form of a body that was read to be this, if it is one."""
        end = body.rfind(b"]")
        head = _HEAD.match(body, 0, _MOST_BYTES)
        if head is None or not len(body) - _MOST_BYTES <= end <= PLAIN or end < head.end():
            return
        tail = _TAIL.fullmatch(body, end)
        size = end - head.end() + 2
        if tail and request.estimate[0] == tokens_in(size) and _is_text(body, head.end(), end):
            self._known.put(tail[0], (head[0], request))


def _is_text(body: bytes, start: int, end: int) -> bool:
    """Whether one list is all there is in between, and its bytes tell how much there is to read."""
    if body.find(b"\\", start, end) >= 0 and body.find(b"\\u", start, end) >= 0:
        return False
    inner, lists = body.find(b"]", start, end), 0  # looking for one byte is quick, counting is not
    while inner >= 0:
        lists += 1
        if lists > _MOST_LISTS or _ANOTHER.match(body, inner):
            return False
        inner = body.find(b"]", inner + 1, end)
    return no_media(body, start, end)
