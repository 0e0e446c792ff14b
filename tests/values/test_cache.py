from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from otel_atm.cache import Cache

keys = st.lists(st.integers(min_value=0, max_value=12), max_size=60)


def test_what_was_put_is_there_and_nothing_else() -> None:
    cache: Cache[str, int] = Cache(2)
    cache.put("a", 1)
    assert (cache.get("a"), cache.get("b"), len(cache)) == (1, None, 1)


def test_a_new_value_replaces_the_old_one() -> None:
    cache: Cache[str, int] = Cache(2)
    cache.put("a", 1)
    cache.put("a", 2)
    assert (cache.get("a"), len(cache)) == (2, 1)


def test_what_is_used_now_and_then_outlives_any_number_of_strangers() -> None:
    cache: Cache[int, str] = Cache(2)
    cache.put(-1, "kept")
    for stranger in range(100):
        cache.put(stranger, "passing")
        assert cache.get(-1) == "kept"


def test_a_cleared_cache_has_forgotten_both_generations() -> None:
    cache: Cache[int, str] = Cache(1)
    cache.put(1, "old")
    cache.put(2, "young")
    cache.clear()
    assert (cache.get(1), cache.get(2), len(cache)) == (None, None, 0)


@given(st.integers(min_value=1, max_value=4), keys)
def test_it_never_keeps_more_than_twice_its_size(size: int, put: Sequence[int]) -> None:
    cache: Cache[int, int] = Cache(size)
    for key in put:
        cache.put(key, key)
        assert len(cache) <= 2 * size


@given(st.integers(min_value=1, max_value=4), keys)
def test_the_most_recently_used_keys_are_always_there(size: int, used: Sequence[int]) -> None:
    cache: Cache[int, int] = Cache(size)
    recent: list[int] = []  # last used last
    for key in used:
        if cache.get(key) is None:
            assert key not in recent[-size:]
            cache.put(key, key)
        recent = [other for other in recent if other != key] + [key]
