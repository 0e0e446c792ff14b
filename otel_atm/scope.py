"""Scope: who pays for a call."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from otel_atm.cache import Cache
from otel_atm.errors import ConfigurationError

#: Keys with a column of their own; any other key is kept among a call's attributes.
COLUMN_KEYS: Final = ("service", "app", "env", "team", "user", "session")
#: Keys that a call brings itself. Budgets may name them, a scope may not.
CALL_KEYS: Final = ("provider", "model")


class Scope(Mapping[str, str]):
    """Who pays: keys such as user, app, session, team and env, any key of your own, and tags.

    Immutable, hashable, equal by value. A key whose value is None or empty is not there.

    Args:
        tags: a set of labels; their order is not kept.
        keys: values are text or integers (kept as text).

    Raises:
        ConfigurationError: for a value of another type, and for the keys "provider" and "model",
            which come from the call.

    >>> Scope(user="ann", department="finance")["user"]
    'ann'
    """

    __slots__ = ("_hash", "_keys", "memo", "tags")

    def __init__(self, *, tags: Iterable[str] = (), **keys: str | int | None) -> None:
        self.memo: dict[Any, Any] = {}  # what others worked out for it; bounded by them
        self._keys = {key: _text(key, value) for key, value in keys.items() if value not in _ABSENT}
        self.tags = _tags(tags)
        self._hash = hash((frozenset(self._keys.items()), self.tags))

    def __getitem__(self, key: str) -> str:
        return self._keys[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    # As a Mapping has them, but without a detour through `__getitem__`.

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default."""
        return self._keys.get(key, default)

    def items(self) -> ItemsView[str, str]:
        """Keys and values."""
        return self._keys.items()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Scope):
            return NotImplemented
        return self._keys == other._keys and self.tags == other.tags

    def __or__(self, other: Scope) -> Scope:
        """This scope, overridden by the keys of `other`, with the tags of both."""
        if not other:
            return self if not other.tags else Scope(tags=self.tags + other.tags, **self._keys)
        return Scope(tags=self.tags + other.tags, **{**self._keys, **other._keys})

    def __reduce__(self) -> tuple[object, ...]:
        return _scope_of, (self._keys, self.tags)  # hashes of texts differ between processes

    def __repr__(self) -> str:
        parts = [f"{key}={value!r}" for key, value in self._keys.items()]
        if self.tags:
            parts.append(f"tags={list(self.tags)!r}")
        return f"Scope({', '.join(parts)})"


def _scope_of(keys: dict[str, str], tags: tuple[str, ...]) -> Scope:
    return Scope(tags=tags, **keys)


#: Names of columns, and of others' keys, that somebody may take for ours.
_MISTAKEN: Final = {
    "user_id": "user",
    "username": "user",
    "session_id": "session",
    "app_id": "app",
}
_ABSENT: Final[tuple[object, ...]] = (None, "")


def _text(key: str, value: object) -> str:
    if key in _MISTAKEN:
        raise ConfigurationError(f"{key}={value!r}: the key is {_MISTAKEN[key]!r}")
    if key in CALL_KEYS:
        raise ConfigurationError(f"{key}={value!r}: a scope cannot set {key!r}, the call brings it")
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ConfigurationError(f"{key}={value!r}: a scope value is text or an integer")


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise ConfigurationError(f"tags={tags!r}: tags are a list of labels, e.g. [{tags!r}]")
    try:
        labels = list(tags)
    except TypeError:
        raise ConfigurationError(f"tags={tags!r}: tags are a list of labels") from None
    for label in labels:
        if not _is_label(label):
            raise ConfigurationError(f"tags: {label!r} is not a label; a label is non-empty text")
    return tuple(sorted(set(labels)))


def _is_label(label: object) -> bool:
    return isinstance(label, str) and bool(label)


#: agent-atm's words for ours.
_ALIASES: Final = {"username": "user", "session_id": "session", "app_id": "app"}
MORE_TAGS: Final = "_additional_metadata_tags"
MORE_KEYS: Final = "_additional_metadata_config"


def scope_of(keys: Mapping[str, Any], tags: Iterable[str] = ()) -> Scope:
    """A scope in our words or in agent-atm's.

    Args:
        keys: as of `context`.
        tags: labels.

    Raises:
        ConfigurationError: as of `context`.
    """
    if keys.keys().isdisjoint(_FOREIGN):
        return Scope(tags=tags, **keys)
    ours: dict[str, Any] = config_keys(keys.get(MORE_KEYS))
    for key, value in keys.items():
        name = _ALIASES.get(key, key)
        if name != key and keys.get(name) is not None:
            raise ConfigurationError(f"{key}={value!r}: {name}={keys[name]!r} is given too")
        if key not in (MORE_TAGS, MORE_KEYS):
            ours[name] = value
    return Scope(tags=_tags(tags) + _tags(keys.get(MORE_TAGS) or ()), **ours)


_FOREIGN: Final = frozenset((*_ALIASES, MORE_TAGS, MORE_KEYS))


def config_keys(config: object) -> dict[str, str]:
    """The keys of a dict of further keys; what would say who pays is kept as ``config.KEY``.

    Raises:
        ConfigurationError: it is no dict of texts.
    """
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise ConfigurationError(f"{MORE_KEYS}={config!r}: expected a dict, e.g. {{'node': 'a1'}}")
    return {_config_key(key): str(value) for key, value in config.items() if value is not None}


def _config_key(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"{MORE_KEYS}: the key {key!r} is no text")
    return f"config.{key}" if key in (*COLUMN_KEYS, *CALL_KEYS, *_MISTAKEN, "tags") else key


NOBODY: Final = Scope()

# (outer, inner) → both. Equal blocks entered again share one Scope, and what it remembers.
_nested: Final[Cache[tuple[Scope, Scope], Scope]] = Cache(4_096)

_current: ContextVar[Scope] = ContextVar("otel_atm.scope", default=NOBODY)
current_scope = _current.get

# The blocks entered in this context, outermost first, each with the scope outside of it.
_entered: ContextVar[tuple[tuple[context, Scope], ...]] = ContextVar("otel_atm.entered", default=())


def _nest(outer: Scope, inner: Scope) -> Scope:
    both = _nested.get((outer, inner))
    if both is None:
        both = outer | inner
        _nested.put((outer, inner), both)
    return both


class context:  # noqa: N801 - reads as a statement: with atm.context(user="ann"):
    """Say who causes the calls of a block: ``with atm.context(user="ann", team="ml"): ...``.

    Nests: inner keys override outer ones, tags add up. Works in threads' own blocks, in tasks
    (also as ``async with``) and in copied contexts.

    Args:
        tags: labels, e.g. ``["prod"]``.
        _additional_metadata_tags: further labels, in agent-atm's words.
        _additional_metadata_config: further keys, the same; those that would say who pays are kept
            as ``config.KEY``.
        keys: as of `Scope`; agent-atm's ``username``, ``session_id`` and ``app_id`` are user,
            session and app.

    Raises:
        ConfigurationError: as `Scope`, before the block is entered; or a thing is said twice.
    """

    __slots__ = ("_added",)

    def __init__(
        self,
        *,
        tags: Iterable[str] = (),
        _additional_metadata_tags: Iterable[str] = (),
        _additional_metadata_config: Mapping[str, Any] | None = None,
        **keys: str | int | None,
    ) -> None:
        given: dict[str, Any] = dict(keys)
        if _additional_metadata_tags:
            given[MORE_TAGS] = _additional_metadata_tags
        if _additional_metadata_config is not None:
            given[MORE_KEYS] = _additional_metadata_config
        self._added = scope_of(given, tags)

    def __enter__(self) -> Scope:
        outside = _current.get()
        scope = _nest(outside, self._added)
        _entered.set((*_entered.get(), (self, outside)))
        _current.set(scope)
        return scope

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        entered = _entered.get()
        places = [place for place, (block, _) in enumerate(entered) if block is self]
        if not places:
            # An abandoned async generator is closed in another context than it was entered in.
            # That context never saw our scope, so there is nothing to take back.
            return
        # Mostly the last one; but a generator may be closed inside of a block entered after it.
        place = places[-1]
        scope, left = entered[place][1], list(entered[:place])
        for block, _ in entered[place + 1 :]:
            left.append((block, scope))
            scope = _nest(scope, block._added)
        _entered.set(tuple(left))
        _current.set(scope)

    async def __aenter__(self) -> Scope:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)
