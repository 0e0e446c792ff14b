"""Text: how many bytes a model reads in a JSON value, and how many media.

Of them `otel_atm.tokenizers.estimate` makes tokens; the quotes and names of JSON stand for what
chat templates, tools and schemas add.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from otel_atm.tokenizers.estimate import MEDIA_TYPES, utf8

#: A string from this many characters on is looked at, so far: is it base64?
_BLOB: Final = 512
_LOOK: Final = 256
#: Bytes of JSON that may be taken for text as it is.
PLAIN: Final = 1 << 14
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
_BLOB_IN_JSON: Final = re.compile(
    rb'"(?:data:[\w/+.;=-]{1,80};base64,)?[A-Za-z0-9+/_=-]{%d}' % _BLOB
)


def written(value: Any) -> int:
    """Bytes of a JSON value as compact JSON in UTF-8; 0 for what is empty."""
    if not value:
        return 0
    try:
        return len(orjson.dumps(value))
    except (TypeError, ValueError):  # nested deeper than orjson writes, not deeper than it reads
        return _strings(value)


def reading(value: Any) -> tuple[int, int]:
    """What a model is to read: bytes of text, and how many media."""
    try:
        text = orjson.dumps(value)
    except (TypeError, ValueError):
        return _strings(value), 0
    if len(text) <= PLAIN and no_media(text, 0, len(text)):
        return len(text), 0
    size, media = media_in(value)
    return max(0, len(text) - size), media


def no_media(text: bytes, start: int, end: int) -> bool:
    """Whether compact JSON, there, has no part but text.

    Without another one a picture is base64 in a text, and a small one is not worth a search.
    """
    # from the end, since a quote is seldom and is where that search looks first
    if text.rfind(b'"type"', start, end) < 0:
        return True
    return text.count(b'"type"', start, end) == text.count(b'"type":"text"', start, end)


def _strings(value: Any) -> int:
    size = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if type(each) is str:
            size += utf8(each)
        elif type(each) is list:
            waiting += each
        elif type(each) is dict:
            waiting += each.values()
    return size


def media_in(value: Any) -> tuple[int, int]:
    """What is no text in a JSON value: bytes of it as JSON, and how many media they are.

    That is parts that say so by their type, and long strings that are base64.
    """
    size = media = 0
    waiting: list[Any] = [[value]]
    while waiting:
        each = waiting.pop()
        if type(each) is dict:
            label = each.get("type")
            if type(label) is str and label in MEDIA_TYPES:
                size += written(each)
                media += 1
                continue
            each = each.values()
        for part in each:
            kind = type(part)
            if kind is str:
                # most long texts have a blank soon, and need no closer look
                if len(part) >= _BLOB and part.find(" ", 0, _LOOK) < 0 and is_blob(part):
                    size += len(part) + 2
                    media += 1
            elif kind is dict or kind is list:
                waiting.append(part)
    return size, media


def is_blob(text: str) -> bool:
    """Whether a long string is base64 and no text: text has blanks, or other scripts."""
    begin = text[:_LOOK]
    return (begin.startswith("data:") and ";base64," in begin) or not begin.strip(_BASE64)


def media_in_unparsed(body: bytes) -> tuple[int, int]:
    """`media_in` for JSON that is too large to be parsed: base64 only.

    It jumps from quote to quote, and over base64 at once.
    """
    size = media = place = 0
    while found := _BLOB_IN_JSON.search(body, place):
        end = body.find(b'"', found.end())
        place = end if end >= 0 else len(body)
        size += place - found.start() + 1
        media += 1
    return size, media
