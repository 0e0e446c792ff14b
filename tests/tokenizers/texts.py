"""Texts of many kinds, which never change: what the page on tokenizers says of estimates."""

from __future__ import annotations

import base64
import hashlib
import json

ENGLISH = """\
The harbour wakes before the town does. A little after four the first boats come back, low in \
the water, and the men on the quay begin to shout numbers that mean nothing to anybody else. \
Crates of herring slide over the wet stones; somebody laughs, somebody swears at a rope. By \
six the auction is over and the buyers have gone, and only the gulls and a boy with a broom \
are left to argue about what remains.

My grandmother used to say that you can tell the weather of the whole week from the way the \
fishermen tie their knots on a Monday. I never believed her, and yet I still look. Today the \
knots are doubled, and the flags on the customs house hang straight down, as if they were \
listening. It will be a quiet morning, she would have said, and a long night.
"""

MARKDOWN = """\
# Rate limiter

A small library that keeps **your service** within the limits of somebody else's API.

## Install

Run `pip install limiter` and import it; there is nothing to configure.

| Option | Default | Meaning |
|---|---|---|
| `rate` | 10 | requests per second, averaged over a minute |
| `burst` | 20 | how many may be sent at once after a pause |
| `timeout` | 5.0 | seconds to wait for room before an error is raised |

1. Create a limiter for each API key, *not* for each request.
2. Wrap the call: `with limiter: client.get(url)`.
3. Read [the guide](docs/guide.md) if you run several processes on one machine.

> **Note:** time is measured with a monotonic clock, so changing the system clock has no effect.
"""

PYTHON = '''\
class Window:
    """A calendar window: its start, its end, and what was spent in it."""

    def __init__(self, start: datetime, end: datetime, limit: int) -> None:
        self.start, self.end, self.limit = start, end, limit
        self._spent: dict[str, int] = {}

    def spend(self, user: str, tokens: int) -> bool:
        """Spend tokens for a user; False if the limit would be passed."""
        spent = self._spent.get(user, 0) + tokens
        if spent > self.limit:
            return False
        self._spent[user] = spent
        return True

    def left(self, user: str) -> int:
        return max(0, self.limit - self._spent.get(user, 0))


def windows_of(year: int, limit: int = 10_000) -> Iterator[Window]:
    for month in range(1, 13):
        start = datetime(year, month, 1, tzinfo=UTC)
        end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        yield Window(start, end, limit)
'''

_RECORDS = [
    {
        "order_id": f"ORD-{7919 * n % 100000:05d}",
        "customer": {"name": name, "email": f"{name.lower()}@example.com", "vip": n % 2 == 0},
        "items": [
            {"sku": f"AB{n}{k}", "quantity": k + 1, "price": 9.5 * (k + n)} for k in range(3)
        ],
        "shipped": None if n % 3 else "2026-03-14T09:26:53Z",
    }
    for n, name in enumerate(("Ann", "Benedikt", "Chiara", "Dmitri"), start=1)
]

CHINESE = """\
清晨的集市比城市醒得更早。卖豆腐的老人推着木车从桥那边走来，热气在冷风里慢慢散开。孩子们背着书包跑过石板路，\
有人停下来买一根油条，有人只是站在摊子前面听大人们讨价还价。到了八点，太阳越过屋顶，茶馆的门一扇一扇打开，\
说书的先生还没有来，桌上的瓜子已经少了一半。外婆常说，看一座城市好不好，不要看它的高楼，要看它的早晨。\
请用三句话总结上面的内容，并且说明作者对家乡的感情。如果信息不足，请直接回答“不知道”。
"""

JAPANESE = """\
港町の朝は早い。四時を過ぎると最初の船が戻ってきて、岸壁では男たちが数字を叫びはじめる。濡れた石の上を木箱がすべり、\
誰かが笑い、誰かがロープに文句を言う。六時には競りも終わり、買い手たちは帰ってしまい、残っているのはカモメと、\
ほうきを持った少年だけである。祖母は、月曜日の結び目を見れば一週間の天気がわかると言っていた。\
次の文章を三行で要約してください。わからない場合は「わかりません」と答えてください。
"""

RUSSIAN = """\
Порт просыпается раньше города. Чуть позже четырёх возвращаются первые лодки, и люди на \
причале начинают выкрикивать числа, которые никому больше ничего не говорят. Ящики с сельдью \
скользят по мокрым камням; кто-то смеётся, кто-то ругает верёвку. К шести часам торг окончен, \
покупатели разошлись, и остались только чайки да мальчик с метлой. Пожалуйста, перескажи этот \
текст в двух предложениях и ничего не придумывай от себя.
"""

EMOJI = "🎉🚀🙂👍🏽❤️🔥✨😂🥲🤖🌍🌱🐟⚓️🧭☕️🍞🎻📚🧪🛠️🕰️👩‍💻🧑‍🚀🏳️‍🌈" * 4


def _base64() -> str:
    return base64.b64encode(
        b"".join(hashlib.sha256(bytes([n])).digest() for n in range(40))
    ).decode()


#: Kind, as the page has it → text.
TEXTS = {
    "English prose": ENGLISH,
    "Markdown": MARKDOWN,
    "Python": PYTHON,
    "JSON, indented": json.dumps(_RECORDS, indent=2),
    "JSON, compact": json.dumps(_RECORDS, separators=(",", ":")),
    "Chinese": CHINESE,
    "Japanese": JAPANESE,
    "Russian": RUSSIAN,
    "Emoji": EMOJI,
    "Base64": _base64(),
}
