"""Text: how much of it a JSON value holds, and about how many tokens that is."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

#: Bytes of UTF-8 text for one token: English and code need about four, other scripts fewer
#: characters but more bytes each.
BYTES_PER_TOKEN: Final = 4
#: Tokens of one picture, sound or document: OpenAI has 85 to 1,445 for a picture, Anthropic up to
#: about 1,600, Gemini 258 a tile. What it really was, the answer tells.
MEDIA_TOKENS: Final = 1_000

#: A string from this many characters on is looked at: is it base64?
_BLOB: Final = 512
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
#: Parts of a message that name or hold something else than text, by their ``type``.
_MEDIA: Final = frozenset(
    (
        *("image", "image_url", "input_image", "audio", "audio_url", "input_audio"),
        *("video_url", "file", "input_file"),
    )
)
_BLOB_IN_JSON: Final = re.compile(
    rb'"(?:data:[\w/+.;=-]{1,80};base64,)?[A-Za-z0-9+/_=-]{%d}' % _BLOB
)


def tokens_in(text_bytes: int, media: int = 0) -> int:
    """About how many tokens so many bytes of text and so many pictures are."""
    return -(-text_bytes // BYTES_PER_TOKEN) + media * MEDIA_TOKENS


def utf8(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def measure(value: Any) -> tuple[int, int]:
    """Bytes of the text in a JSON value, and how many media are in it.

    All strings count but not the names of fields, a number counts for one token, and base64 for
    a medium, whatever its length.
    """
    size = media = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        kind = type(each)
        if kind is str:
            if len(each) >= _BLOB and is_blob(each):
                media += 1
            else:
                size += len(each) if each.isascii() else utf8(each)
        elif kind is dict:
            label = each.get("type")
            if type(label) is str and label in _MEDIA:
                media += 1
            else:
                waiting += each.values()
        elif kind is list:
            waiting += each
        elif kind is int or kind is float:
            size += BYTES_PER_TOKEN
    return size, media


def written(value: Any) -> int:
    """Bytes of a JSON value as JSON: what tools and schemas are to a model, names and all."""
    if not value:
        return 0
    try:
        return len(orjson.dumps(value))
    except (TypeError, ValueError):  # nested deeper than orjson writes
        return measure(value)[0]


def is_blob(text: str) -> bool:
    """Whether a long string is base64 and no text: text has blanks, or other scripts."""
    if text.startswith("data:") and ";base64," in text[:100]:
        return True
    return not text[:256].strip(_BASE64)


def measure_unparsed(body: bytes) -> tuple[int, int]:
    """`measure` for JSON that is too large to be parsed: all of it is text, except base64.

    It jumps from quote to quote, and over base64 at once.
    """
    size, media, place = len(body), 0, 0
    while found := _BLOB_IN_JSON.search(body, place):
        end = body.find(b'"', found.end())
        place = end if end >= 0 else len(body)
        size -= place - found.start()
        media += 1
    return size, media
