"""The collector's part: the overlay fits the configuration, and the view finds what it reads."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from otel_atm.charts import clickhouse
from tests.collector import test_config as collector

OVERLAY = collector.ROOT / "docs/scale/clickhouse.yaml"
#: The key of embeddings of OpenInference lies among those that carry text.
REMOVED = {"embedding.model_name"}


def joined(below: Any, above: Any) -> Any:
    """As the collector joins files: maps key by key, all else is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    both = below.keys() & above.keys()
    return {**below, **above, **{key: joined(below[key], above[key]) for key in both}}


@pytest.fixture
def config() -> collector.Config:
    below = collector.load(collector.CONFIG_FILE)
    return joined(below, yaml.safe_load(OVERLAY.read_text("utf-8")))  # type: ignore[no-any-return]


@pytest.mark.parametrize("check", collector.CHECKS, ids=lambda check: check.__name__)
def test_the_configuration_passes_with_the_overlay(
    config: collector.Config, check: collector.Check
) -> None:
    said = check(config)
    # Its driver speaks TCP, to this host unless told otherwise.
    local = "exporters.clickhouse.endpoint: 'tcp://127.0.0.1:9000'"
    assert [problem for problem in said if local not in problem] == []


def test_nothing_is_given_up_when_clickhouse_is_away(config: collector.Config) -> None:
    exporter = config["exporters"]["clickhouse"]
    assert exporter["retry_on_failure"]["max_elapsed_time"] == 0
    assert exporter["sending_queue"]["storage"] in config["service"]["extensions"]


def test_what_the_view_reads_survives_the_redaction(config: collector.Config) -> None:
    sql = clickhouse.read("usage_events_of_spans")
    read = set(re.findall(r"'([a-z_]+\.[a-z_.]+)'", sql)) - {"atm."}
    span = collector.redact(config, collector.Span(dict.fromkeys(read, 7)))
    resource = {name for name in read if name.startswith("deployment.")}
    assert set(read) - set(span.attributes) == REMOVED | resource
