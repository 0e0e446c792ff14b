"""uvicorn in a thread, with a start that can be waited for and an end that is at once."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

_START_S = 10.0
_GRACE_S = 1.0


class Running:
    """An application being served on `port` of the loopback interface, 0 for a free one."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(_config(app))
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="otel-atm-provider", daemon=True
        )
        self._thread.start()
        if not self._server.up.wait(_START_S):
            raise RuntimeError(f"the provider did not start within {_START_S:g} s")

    def stop(self) -> None:
        """Hang up on every client and wait for the thread to end."""
        self._server.halt()
        self._thread.join()


class _Server(uvicorn.Server):
    """Waits for a word from another thread instead of looking for it ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._halted = asyncio.Event()
        self.up.set()
        await self._halted.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        # Requests notice the loss of their connection and end by themselves.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_GRACE_S)

    def halt(self) -> None:
        self._loop.call_soon_threadsafe(self._halted.set)


def _listen(port: int) -> socket.socket:
    # asyncio turns off Nagle's delay of 40 ms only where the protocol is spelled out.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # dropped streams are no news here
        access_log=False,
        date_header=False,
        server_header=False,
    )
