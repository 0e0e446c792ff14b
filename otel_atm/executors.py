"""Executors: work that is handed to a thread pool belongs to who has handed it over.

A thread has a context of its own: in a pool nobody's call is running, and no span is current. Work
that is submitted with a copy of the submitter's context (PEP 567) has both; what it changes there
is gone when it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

import wrapt

from otel_atm.errors import ConfigurationError

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: Executors whose work leaves the interpreter, where no context can follow.
_ELSEWHERE: Final = ("ProcessPoolExecutor", "InterpreterPoolExecutor")


def carrying(executor: Executor) -> Executor:
    """The same executor, whose work runs in a copy of its submitter's context.

    ::

        pool = otel_atm.carrying(ThreadPoolExecutor())
        with otel_atm.context(user="ann"):
            pool.submit(ask)                     # Ann's call
            loop.run_in_executor(pool, ask)      # hers, too

    `otel_atm.context` and the current span go with each piece of work, and nothing of it is left
    for the next one. `asyncio.to_thread` does so by itself.

    Args:
        executor: runs the work in threads; it is shut down with this one.

    Raises:
        ConfigurationError: it is no executor, or one of processes or interpreters.
    """
    if not isinstance(executor, Executor):
        raise ConfigurationError(f"carrying({executor!r}): expected an executor")
    if _is_elsewhere(executor):
        raise ConfigurationError(
            f"carrying({type(executor).__name__}): a context cannot leave its interpreter"
        )
    return executor if isinstance(executor, _Carrying) else _Carrying(executor)


class _Carrying(Executor):
    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    def submit(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]:
        return self._inner.submit(copy_context().run, partial(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait, cancel_futures=cancel_futures)


def _is_elsewhere(executor: object) -> bool:
    return any(kind.__name__ in _ELSEWHERE for kind in type(executor).__mro__)


_seam: wrapt.FunctionWrapper[Any, Any] | None = None


def carry_context(on: bool) -> None:
    """Let all thread pools of the process carry contexts, or leave them as they were."""
    global _seam
    if on is (_seam is not None):
        return
    if _seam is None:
        _seam = wrapt.FunctionWrapper(ThreadPoolExecutor.submit, _submit)
        ThreadPoolExecutor.submit = _seam  # type: ignore[method-assign,assignment]
        return
    old, _seam = _seam, None
    if ThreadPoolExecutor.__dict__["submit"] is old:  # else somebody has wrapped it since
        ThreadPoolExecutor.submit = old.__wrapped__  # type: ignore[method-assign]


def _submit(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if _seam is None or not args or _is_elsewhere(instance):
        return wrapped(*args, **kwargs)
    return wrapped(copy_context().run, *args, **kwargs)
