"""Aside: what could not be read is kept, and taken in once it can be read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from otel_atm.store import ingest as ingesting
from otel_atm.store import opening, points
from otel_atm.store.drain import aside, drain
from otel_atm.store.forget import forget
from otel_atm.store.points import put_points
from tests.store.conftest import Writer, assert_roll_ups_add_up, query, rows_of

POINTS = b"".join(
    b'{"time_ns":1767225600000000000,"name":"queue","kind":"gauge","value":%d,'
    b'"attributes":{"user":"%b"},"resource":{},"series":"%b","writer":"w"}\n' % (value, user, user)
    for value, user in ((1, b"ann"), (2, b"bob"))
)


@contextmanager
def wrong_sql(monkeypatch: pytest.MonkeyPatch, module: Any, file: str) -> Iterator[None]:
    """A version of ours whose SQL does not work, whatever it reads."""

    def statements(name: str) -> list[str]:
        return [*opening.statements(name), *(["select 300::tinyint"] if name == file else [])]

    with monkeypatch.context() as patch:
        patch.setattr(module, "statements", statements)
        yield


def spooled(writer: Writer, *users: str) -> None:
    """A call of each, in a segment of its own."""
    for user in users:
        writer.call(user=user)
        writer.spool.seal()


@pytest.fixture
def wronged(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """All that was written was set aside, by our own mistake."""
    spooled(writer, "ann", "bob", "eve")
    with wrong_sql(monkeypatch, ingesting, "read_segments.sql"):
        assert drain(writer.paths) == 0
    assert (len(aside(writer.paths)), writer.segments()) == (3, [])
    return writer


class TestOurOwnMistake:
    def test_costs_no_row_once_it_is_mended(self, wronged: Writer) -> None:
        spooled(wronged, "zoe")
        assert drain(wronged.paths) == 1
        assert drain(wronged.paths, retry=True) == 3
        assert rows_of(wronged.paths.database) == wronged.expected()
        assert_roll_ups_add_up(wronged.paths.database)
        assert list(wronged.paths.spool.iterdir()) == []

    def test_is_not_made_good_by_a_drain_that_is_not_asked_to(self, wronged: Writer) -> None:
        assert drain(wronged.paths) == 0
        assert len(aside(wronged.paths)) == 3

    def test_that_goes_on_loses_nothing(
        self, wronged: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = {file: file.read_bytes() for file in aside(wronged.paths)}
        with wrong_sql(monkeypatch, ingesting, "read_segments.sql"):
            assert drain(wronged.paths, retry=True) == 0
        assert {file: file.read_bytes() for file in aside(wronged.paths)} == before

    def test_does_not_undo_a_correction_that_came_meanwhile(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        span = writer.start(user="ann")
        writer.lose()
        writer.spool.seal()
        with wrong_sql(monkeypatch, ingesting, "read_segments.sql"):
            drain(writer.paths)
        writer.end(span, (11, 7))
        assert writer.drain() == 1
        assert drain(writer.paths, retry=True) == 0
        (row,) = rows_of(writer.paths.database)
        assert (row["status"], row["input_tokens"]) == ("ok", 11)
        assert_roll_ups_add_up(writer.paths.database)

    def test_leaves_no_copy_that_counts_twice(self, wronged: Writer) -> None:
        copies = [(file, file.read_bytes()) for file in aside(wronged.paths)]
        assert drain(wronged.paths, retry=True) == 3
        for file, content in copies:
            file.write_bytes(content)  # e.g. out of a backup
        assert drain(wronged.paths, retry=True) == 0
        assert rows_of(wronged.paths.database) == wronged.expected()
        assert aside(wronged.paths) == []

    def test_brings_nobody_back_who_was_forgotten(self, wronged: Writer) -> None:
        assert forget(wronged.paths, "ann").segments == 2
        assert drain(wronged.paths, retry=True) == 2
        users = [row["user_id"] for row in rows_of(wronged.paths.database)]
        assert users == ["bob", "eve"]

    def test_about_metrics_costs_no_point(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_points(writer.paths.spool, POINTS)
        with wrong_sql(monkeypatch, points, "points.sql"):
            drain(writer.paths)
        assert len(aside(writer.paths)) == 1
        for _ in range(2):
            drain(writer.paths, retry=True)
            assert values(writer.paths.database) == [1, 2]
        assert aside(writer.paths) == []


def values(path: Path) -> list[float]:
    return [row["value"] for row in query(path, "select value from metric_points order by value")]


class TestDamage:
    def damage(self, file: Path) -> None:
        content = file.read_bytes()
        file.write_bytes(content.replace(b"null,0]", b"n\x00\xff,x]"))

    def test_keeps_one_file_aside_and_no_other(self, wronged: Writer) -> None:
        bad, *_ = sorted(aside(wronged.paths))
        sound = bad.read_bytes()
        self.damage(bad)
        damaged = bad.read_bytes()
        for rows in (2, 0):
            assert drain(wronged.paths, retry=True) == rows
            assert aside(wronged.paths) == [bad]
            assert bad.read_bytes() == damaged
        bad.write_bytes(sound)  # mended by hand
        assert drain(wronged.paths, retry=True) == 1
        assert rows_of(wronged.paths.database) == wronged.expected()

    @pytest.mark.parametrize(
        ("sound", "damaged"),
        [
            pytest.param(b'""status"":', b'""statuq"":', id="a column that may not be empty"),
            pytest.param(b'}"\n', b"}#\n", id="a quote that does not end"),
            pytest.param(b",null,0]", b"?,null,0]", id="a number that is none"),
            pytest.param(b"ann", b"\xffnn", id="no text"),
        ],
    )
    def test_of_any_kind_holds_up_nobody(
        self, writer: Writer, sound: bytes, damaged: bytes
    ) -> None:
        spooled(writer, "ann", "bob")
        segment, _ = writer.segments()
        content = segment.read_bytes()
        assert content.count(sound) == 1
        segment.write_bytes(content.replace(sound, damaged))
        assert drain(writer.paths) == 1
        (bad,) = aside(writer.paths)
        bad.write_bytes(content)
        assert drain(writer.paths, retry=True) == 1
        assert rows_of(writer.paths.database) == writer.expected()

    @pytest.mark.parametrize(
        ("sound", "damaged", "lines", "rows"),
        [
            pytest.param(b'{""service', b'(""service', 3, 2, id="no head"),
            pytest.param(b"[0,", b"[9,", 2, 2, id="another head"),
            pytest.param(b",null,0]", b",null,1]", 1, 3, id="another end"),
            pytest.param(b",null,0]", b"]", 1, 3, id="no end"),
            pytest.param(b",0],null", b",what],null", 1, 3, id="tokens that are no number"),
        ],
    )
    def test_of_a_line_loses_no_other(
        self,
        writer: Writer,
        caplog: pytest.LogCaptureFixture,
        sound: bytes,
        damaged: bytes,
        lines: int,
        rows: int,
    ) -> None:
        for user in ("ann", "bob", "ann", "bob"):
            writer.call(user=user)
        writer.spool.seal()
        (segment,) = writer.segments()
        content = segment.read_bytes()
        broken = content.replace(sound, damaged, 1)
        segment.write_bytes(broken)
        assert drain(writer.paths) == rows
        assert f"has damaged lines ({lines}); all others are in the DuckDB file" in caplog.text
        for _ in range(2):  # as often as one likes
            assert drain(writer.paths, retry=True) == 0
            assert len(rows_of(writer.paths.database)) == rows
            assert_roll_ups_add_up(writer.paths.database)
        (bad,) = aside(writer.paths)
        assert bad.read_bytes() == broken
        bad.write_bytes(content)  # mended by hand
        assert drain(writer.paths, retry=True) == 4 - rows
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)

    def test_of_any_bit_holds_up_nobody(self, writer: Writer) -> None:
        chance = random.Random(2026)
        for number in range(20):
            spooled(writer, "ann", "bob")
            segment, _ = writer.segments()
            content = bytearray(segment.read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            segment.write_bytes(content)
            drain(writer.paths)
            assert writer.segments() == []
            bobs = [row for row in rows_of(writer.paths.database) if row["user_id"] == "bob"]
            assert len(bobs) == number + 1

    def test_of_metrics_does_not_make_forgetting_take_those_of_others(self, writer: Writer) -> None:
        spooled(writer, "bob")
        put_points(writer.paths.spool, POINTS + b"{broken\n")
        drain(writer.paths)
        (bad,) = aside(writer.paths)
        assert forget(writer.paths, "ann").segments == 1
        bad.write_bytes(bad.read_bytes().removesuffix(b"{broken\n"))
        drain(writer.paths, retry=True)
        assert values(writer.paths.database) == [2]


def test_what_is_not_ours_is_left_alone(writer: Writer) -> None:
    spooled(writer, "ann")
    note = writer.paths.spool / "note.txt.bad"
    note.write_text("[0,")
    assert drain(writer.paths, retry=True) == 1
    assert list(writer.paths.spool.iterdir()) == [note]
