"""`POST /api/chat`."""

from __future__ import annotations

from typing import ClassVar

import orjson

from otel_atm.testing.provider.body import Body, Json, branch, items
from otel_atm.testing.provider.call import Call, call_of
from otel_atm.testing.provider.dialect import Fields
from otel_atm.testing.provider.ollama.dialect import Ollama


class Chat(Ollama):
    """Chats."""

    paths = ("/api/chat",)
    needs: ClassVar[Fields] = {"model": str, "messages": list}
    prompts = ("messages",)

    def tool(self, body: Body) -> Call | None:
        """The first function."""
        functions = (branch(tool, "function") for tool in items(body, "tools"))
        return next((call_of(each, "parameters") for each in functions if each), None)

    def rounds(self, body: Body) -> int:
        """The messages of role `tool`."""
        return [message.get("role") for message in items(body, "messages")].count("tool")

    def said(self, says: str | Call) -> Json:
        """A message."""
        if isinstance(says, str):
            return {"message": {"role": "assistant", "content": says}}
        function = {"name": says.name, "arguments": orjson.loads(says.arguments)}
        calls = [{"function": function}]
        return {"message": {"role": "assistant", "content": "", "tool_calls": calls}}
