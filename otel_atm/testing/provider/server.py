"""The provider as its users hold it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from otel_atm.testing.provider.app import application
from otel_atm.testing.provider.endpoint import Desk
from otel_atm.testing.provider.faults import Faults, FaultSwitch
from otel_atm.testing.provider.mistral import PREFIX
from otel_atm.testing.provider.reported import Record, Reported
from otel_atm.testing.provider.running import Running
from otel_atm.testing.provider.tokens import Spending, Tokens

_PATIENCE_S = 5.0


class ProviderServer:
    """A local LLM provider; it serves inside of its `with` block.

    `usage` is the `Tokens` of every answer or a function that tells them from the `Asked`; None
    for 11 input tokens, 4 of them from the cache, and 7 output tokens. Of these, OpenAI and Gemini
    answer with 3 for reasoning and Anthropic with 2 input tokens written to the cache; what a
    provider has no field for, it leaves out. A function that raises makes a status 500. `port` is
    a TCP port on 127.0.0.1, 0 for a free one. `faults` are in force from the start.
    """

    def __init__(
        self, usage: Spending | None = None, *, port: int = 0, faults: Faults | None = None
    ) -> None:
        self._record = Record()
        self._switch = FaultSwitch(faults or Faults())
        self._app = application(Desk(self._switch, self._record, usage))
        self._port = port
        self._running: Running | None = None

    def __enter__(self) -> Self:
        self._running = Running(self._app, self._port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`; `RuntimeError` while the server does not run."""
        if self._running is None:
            raise RuntimeError("the provider runs in its `with` block only")
        return f"http://127.0.0.1:{self._running.port}"

    @property
    def openai_url(self) -> str:
        """The `base_url` of OpenAI clients."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` of Anthropic clients."""
        return self.url

    @property
    def bedrock_url(self) -> str:
        """The `endpoint_url` of boto3's client of `bedrock-runtime`."""
        return self.url

    @property
    def gemini_url(self) -> str:
        """The `base_url` in the `http_options` of Google's clients, for Vertex AI too."""
        return self.url

    @property
    def cohere_url(self) -> str:
        """The `base_url` of Cohere clients."""
        return self.url

    @property
    def ollama_url(self) -> str:
        """The `host` of Ollama clients."""
        return self.url

    @property
    def mistral_url(self) -> str:
        """The `server_url` of Mistral clients."""
        return f"{self.url}{PREFIX}"

    @property
    def azure_url(self) -> str:
        """The `azure_endpoint` of OpenAI's clients for Azure."""
        return self.url

    @property
    def requests(self) -> int:
        """How many LLM requests arrived, answered or not."""
        return self._record.requests

    @property
    def reported(self) -> list[Reported]:
        """What was answered, oldest first; a request joins when its answer is complete or dead."""
        return self._record.lines

    def total_told(self) -> Tokens:
        """The sum of all usage that clients were told."""
        told = (line.tokens for line in self.reported if line.told)
        return sum(told, Tokens())

    def wait_requests(self, count: int, timeout_s: float = _PATIENCE_S) -> None:
        """Block until `count` requests arrived; `TimeoutError` after `timeout_s` seconds."""
        self._record.wait_until(lambda requests, _: requests >= count, timeout_s)

    def wait_reported(self, count: int, timeout_s: float = _PATIENCE_S) -> None:
        """Block until `reported` has `count` lines; `TimeoutError` after `timeout_s` seconds."""
        self._record.wait_until(lambda _, lines: lines >= count, timeout_s)

    @property
    def faults(self) -> Faults:
        """The faults in force for requests that arrive from now on."""
        return self._switch.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._switch.faults = faults

    @contextmanager
    def faulty(self, **changes: Any) -> Iterator[Faults]:
        """Change some of the faults for the length of a `with` block."""
        with self._switch.changed(**changes) as faults:
            yield faults

    def reset(self) -> None:
        """Empty the record and behave well again; requests under way leave no line."""
        self._record.reset()
        self._switch.faults = Faults()
