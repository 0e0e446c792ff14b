from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_atm.charts import clickhouse
from tests.scale.engine import ClickHouse


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    started = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    yield started
    started.close()


@pytest.fixture
def database(server: ClickHouse) -> Iterator[ClickHouse]:
    """With our tables and views, and the exporter's table, all empty."""
    server.ask("create database test")
    server.ask("use test")
    server.run((Path(__file__).parent / "otel_traces.sql").read_text("utf-8"))
    for name in clickhouse.NAMES:
        server.run(clickhouse.read(name))
    yield server
    server.ask("use default")
    server.ask("drop database test")
