"""collector-config.yaml resolves, redacts and counts as its comments say, seen without a collector.

Every check is a function of a configuration and returns sentences; the committed file must
produce none, and a copy broken on purpose must produce the one that names the fault.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG_FILE = ROOT / "collector-config.yaml"
MANIFEST_FILE = ROOT / "docs/how-to/collector/builder-config.yaml"
GUIDE_FILE = ROOT / "docs/how-to/collector.md"

Config = dict[str, Any]
Check = Callable[[Config], list[str]]

# --- what a collector of 0.159 knows ---------------------------------------------------------

CORE = "go.opentelemetry.io/collector"
CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"

# kind → type → Go module: the part of 0.159 that is of use for tokens
KNOWN_TYPES = {
    "receivers": {"otlp": f"{CORE}/receiver/otlpreceiver"},
    "processors": {
        "attributes": f"{CONTRIB}/processor/attributesprocessor",
        "delta_to_cumulative": f"{CONTRIB}/processor/deltatocumulativeprocessor",
        "filter": f"{CONTRIB}/processor/filterprocessor",
        "gen_ai_normalizer": f"{CONTRIB}/processor/genainormalizerprocessor",
        "memory_limiter": f"{CORE}/processor/memorylimiterprocessor",
        "redaction": f"{CONTRIB}/processor/redactionprocessor",
        "resource": f"{CONTRIB}/processor/resourceprocessor",
        "transform": f"{CONTRIB}/processor/transformprocessor",
    },
    "connectors": {
        "count": f"{CONTRIB}/connector/countconnector",
        "forward": f"{CORE}/connector/forwardconnector",
        "signal_to_metrics": f"{CONTRIB}/connector/signaltometricsconnector",
        "span_metrics": f"{CONTRIB}/connector/spanmetricsconnector",
        "sum": f"{CONTRIB}/connector/sumconnector",
    },
    "exporters": {
        "clickhouse": f"{CONTRIB}/exporter/clickhouseexporter",
        "debug": f"{CORE}/exporter/debugexporter",
        "file": f"{CONTRIB}/exporter/fileexporter",
        "otlp_grpc": f"{CORE}/exporter/otlpexporter",
        "otlp_http": f"{CORE}/exporter/otlphttpexporter",
        "prometheus": f"{CONTRIB}/exporter/prometheusexporter",
        "prometheus_remote_write": f"{CONTRIB}/exporter/prometheusremotewriteexporter",
    },
    "extensions": {
        "bearertokenauth": f"{CONTRIB}/extension/bearertokenauthextension",
        "file_storage": f"{CONTRIB}/extension/storage/filestorage",
        "health_check": f"{CONTRIB}/extension/healthcheckextension",
    },
}

# kind → name that still works, with a warning or not for long → what to write instead
DEPRECATED = {
    "receivers": {},
    "processors": {
        "batch": "sending_queue.batch of the exporter",
        "deltatocumulative": "delta_to_cumulative",
        "genainormalizer": "gen_ai_normalizer",
        "queuebatch": "queue_batch",
    },
    "connectors": {"signaltometrics": "signal_to_metrics", "spanmetrics": "span_metrics"},
    "exporters": {
        "otlp": "otlp_grpc",
        "otlphttp": "otlp_http",
        "prometheusremotewrite": "prometheus_remote_write",
    },
    "extensions": {},
}

# --- reading a configuration -----------------------------------------------------------------

ENV = re.compile(r"\$\{(?P<body>[^}]*)\}")
ENV_BODY = re.compile(r"env:(?P<name>[A-Z][A-Z0-9_]*)(?P<default>:-.*)?")


def load(path: Path) -> Config:
    config: Config = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config


def kind_of(component: str) -> str:
    """The type in a component id: ``filter`` of ``filter/genai_spans``."""
    return component.split("/")[0]


def pipelines(config: Config, signal: str = "") -> dict[str, Config]:
    found: dict[str, Config] = config["service"]["pipelines"]
    return {name: line for name, line in found.items() if kind_of(name).startswith(signal)}


def walk(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string of a configuration, with the path of keys that leads to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, f"{path}[{index}]")
    elif isinstance(value, str):
        yield path, value


def environment(config: Config) -> dict[str, set[str]]:
    """Variable → defaults that it is given, over the whole configuration."""
    found: dict[str, set[str]] = {}
    for _, text in walk(config):
        for reference in ENV.finditer(text.replace("$$", "")):
            if match := ENV_BODY.fullmatch(reference["body"]):
                found.setdefault(match["name"], set()).add((match["default"] or ":-")[2:])
    return found


def named_in_pipelines(config: Config) -> list[tuple[str, str, str]]:
    """Rows of (pipeline, ``receivers`` | ``processors`` | ``exporters``, component id)."""
    return [
        (name, role, component)
        for name, line in pipelines(config).items()
        for role in ("receivers", "processors", "exporters")
        for component in line.get(role, [])
    ]


# --- checks of the wiring --------------------------------------------------------------------


def check_each_name_is_defined(config: Config) -> list[str]:
    problems = []
    connectors = config.get("connectors", {})
    for pipeline, role, component in named_in_pipelines(config):
        defined = config.get(role, {}) | ({} if role == "processors" else connectors)
        if component not in defined:
            problems.append(f"pipeline {pipeline}: {role} names {component!r}, which is undefined")
    problems += [
        f"service.extensions names {extension!r}, which is undefined"
        for extension in config["service"].get("extensions", [])
        if extension not in config.get("extensions", {})
    ]
    return problems


def check_each_definition_is_used(config: Config) -> list[str]:
    used = named_in_pipelines(config)
    by_role = {role: {c for _, r, c in used if r == role} for _, role, _ in used}
    by_role["extensions"] = set(config["service"].get("extensions", []))
    problems = [
        f"{role[:-1]} {component!r} is defined and never used"
        for role in ("receivers", "processors", "exporters", "extensions")
        for component in config.get(role, {})
        if component not in by_role.get(role, set())
    ]
    problems += [
        f"connector {connector!r} is not among the {role} of any pipeline"
        for connector in config.get("connectors", {})
        for role in ("exporters", "receivers")
        if connector not in by_role[role]
    ]
    return problems


def check_types_are_current(config: Config) -> list[str]:
    problems = []
    for kind, known in KNOWN_TYPES.items():
        for component in config.get(kind, {}):
            name = kind_of(component)
            if name in DEPRECATED[kind]:
                instead = DEPRECATED[kind][name]
                problems.append(f"{kind[:-1]} {component!r} is deprecated: write {instead}")
            elif name not in known:
                problems.append(f"{kind[:-1]} type {name!r} is not known in 0.159")
    return problems


def check_memory_limiter_is_first(config: Config) -> list[str]:
    return [
        f"pipeline {name}: memory_limiter is not the first processor"
        for name, line in pipelines(config).items()
        if kind_of((line.get("processors") or ["none"])[0]) != "memory_limiter"
    ]


def check_environment_has_local_defaults(config: Config) -> list[str]:
    problems = []
    local = re.compile(r"(https?://)?(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/.*)?")
    for path, text in walk(config):
        plain = text.replace("$$", "")
        for reference in ENV.finditer(plain):
            match = ENV_BODY.fullmatch(reference["body"])
            if match is None or match["default"] is None:
                problems.append(f"{path}: {reference[0]} has no default (write ${{env:NAME:-…}})")
        value = ENV.sub(lambda m: m["body"].partition(":-")[2], plain)
        is_address = path.endswith("endpoint") or "://" in value
        if is_address and not local.fullmatch(value):
            problems.append(f"{path}: {value!r} is not an address of this host")
    return problems


# --- checks of the promises ------------------------------------------------------------------


def check_redaction_fails_closed(config: Config) -> list[str]:
    problems = [
        f"processor {name!r}: error_mode is {settings.get('error_mode', 'ignore')!r}, "
        "so what it fails on passes unredacted; write propagate"
        for name, settings in config["processors"].items()
        if kind_of(name) in {"filter", "transform"} and settings.get("error_mode") != "propagate"
    ]
    for name, line in pipelines(config, "traces").items():
        if [kind_of(p) for p in line["processors"][1:3]] != ["filter", "transform"]:
            problems.append(f"pipeline {name}: redaction does not follow memory_limiter")
    problems += [
        f"pipeline {name}: log records are prompts, and nothing redacts them"
        for name in pipelines(config, "logs")
    ]
    if config["service"].get("telemetry", {}).get("logs", {}).get("level") not in {"info", "warn"}:
        problems.append("service.telemetry.logs.level: debug logs whole spans before redaction")
    return problems


def check_statement_groups_have_one_context(config: Config) -> list[str]:
    problems = []
    for name, settings in config["processors"].items():
        for group in settings.get("trace_statements", []) + settings.get("metric_statements", []):
            statements = group["statements"] if isinstance(group, dict) else [group]
            contexts = {re.search(r"\((\w+)\.", s)[1] for s in statements}  # type: ignore[index]
            if len(contexts) > 1 or not isinstance(group, dict):
                problems.append(
                    f"processor {name!r}: {sorted(contexts)} share a list, so all statements "
                    "run in the lowest context; write one group for each"
                )
    return problems


def check_nothing_is_given_up(config: Config) -> list[str]:
    problems = []
    enabled = config["service"].get("extensions", [])
    for name, settings in config["exporters"].items():
        if not kind_of(name).startswith("otlp"):
            continue
        retry, queue = settings.get("retry_on_failure", {}), settings.get("sending_queue", {})
        if retry.get("max_elapsed_time") != 0 or retry.get("enabled") is False:
            problems.append(f"exporter {name!r}: retry_on_failure.max_elapsed_time is not 0")
        storage = queue.get("storage")
        if storage not in config.get("extensions", {}) or storage not in enabled:
            problems.append(
                f"exporter {name!r}: sending_queue.storage {storage!r} "
                "is not a defined and enabled extension"
            )
        if not queue.get("batch", {}).get("max_size"):
            problems.append(f"exporter {name!r}: sending_queue.batch.max_size bounds no request")
        if settings.get("compression") != "gzip":
            problems.append(f"exporter {name!r}: compression is not gzip")
    return problems


def check_deltas_are_accumulated(config: Config) -> list[str]:
    problems = []
    for name, line in pipelines(config, "metrics").items():
        derived = set(line["receivers"]) & set(config.get("connectors", {}))
        scraped = [e for e in line["exporters"] if kind_of(e) == "prometheus"]
        accumulates = any(kind_of(p) == "delta_to_cumulative" for p in line["processors"])
        if derived and scraped and not accumulates:
            problems.append(
                f"pipeline {name}: {sorted(derived)} emits deltas, and no delta_to_cumulative "
                f"stands before {scraped}"
            )
    return problems


def check_expiry_agrees(config: Config) -> list[str]:
    stale = config["processors"].get("delta_to_cumulative", {}).get("max_stale")
    return [
        f"exporter {exporter!r}: metric_expiration differs from max_stale {stale!r}"
        for line in pipelines(config, "metrics").values()
        if set(line["receivers"]) & set(config["connectors"])
        for exporter in line["exporters"]
        if config["exporters"].get(exporter, {}).get("metric_expiration") != stale
    ]


LEAF_OPERATIONS = "^(chat|text_completion|generate_content|embeddings)$$"
BY_PERSON = re.compile(r"user|session|conversation|trace|call_id")


def check_tokens_are_counted_once(config: Config) -> list[str]:
    problems, counted = [], set()
    metrics = config["connectors"]["signal_to_metrics"]["spans"]
    for number, metric in enumerate(metrics):
        where = f"signal_to_metrics.spans[{number}]"
        if [LEAF_OPERATIONS in c for c in metric.get("conditions", [])] != [True]:
            problems.append(f"{where}: counts operations that repeat their children's tokens")
        for attribute in metric["attributes"]:
            key = attribute["key"]
            if BY_PERSON.search(key):
                problems.append(f"{where}: {key} makes a time series for each of its values")
            if key == "gen_ai.token.type":
                counted.add((attribute["default_value"], metric["sum"]["value"]))
            elif not attribute.get("optional"):
                problems.append(f"{where}: spans without {key} are not counted (not optional)")
        if not metric["sum"].get("monotonic"):
            problems.append(f"{where}: not monotonic, so not a counter")
    expected = {(t, f'span.attributes["gen_ai.usage.{t}_tokens"]') for t in ("input", "output")}
    if counted != expected:
        problems.append(f"signal_to_metrics: counts {sorted(counted)}, not {sorted(expected)}")
    return problems


def check_span_counters_are_one_metric_of_their_own(config: Config) -> list[str]:
    metrics = config["connectors"]["signal_to_metrics"]["spans"]
    problems = [
        f"signal_to_metrics: {metric['name']} is a name that the application may send too"
        for metric in metrics
        if not metric["name"].startswith("atm.span.")
    ]
    if len({(m["name"], m["description"], m["unit"]) for m in metrics}) > 1:
        problems.append(
            "signal_to_metrics: one name, several descriptions or units; Prometheus shows one"
        )
    return problems


# --- the redaction, run ----------------------------------------------------------------------


@dataclass
class Span:
    """What of a span can carry text."""

    attributes: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    scope: dict[str, Any] = field(default_factory=dict)
    name: str = "chat gpt-5.1"
    message: str = ""
    events: list[str] = field(default_factory=list)


MAP_FUNCTION = re.compile(r'(\w+)\((resource|scope|span|datapoint)\.attributes, (.*)"\)', re.DOTALL)
SET_NAME = re.compile(r'set\(span\.name, "(\w+)"\) where Len\(span\.name\) > (\d+)')


def edit_map(function: str, arguments: str, target: dict[str, Any]) -> dict[str, Any]:
    *_, last = texts = [t.replace("$$", "$") for t in arguments.lstrip('"').split('", "')]
    match function, texts:
        case "keep_matching_keys", [_]:
            return {k: v for k, v in target.items() if re.search(last, k)}
        case "delete_matching_keys", [_]:
            return {k: v for k, v in target.items() if not re.search(last, k)}
        case "replace_all_patterns", ["value", pattern, _]:
            return {
                k: re.sub(pattern, last, v) if isinstance(v, str) else v for k, v in target.items()
            }
    raise ValueError(f"the test does not know the statement {function}({arguments})")


def run_statement(statement: str, span: Span) -> None:
    if match := MAP_FUNCTION.fullmatch(statement):
        function, context, arguments = match.groups()
        where = "attributes" if context in {"span", "datapoint"} else context
        setattr(span, where, edit_map(function, arguments, getattr(span, where)))
    elif match := SET_NAME.fullmatch(statement):
        span.name = match[1] if len(span.name) > int(match[2]) else span.name
    elif statement == 'set(span.status.message, "")':
        span.message = ""
    else:
        raise ValueError(f"the test does not know the statement {statement}")


def redact(
    config: Config, span: Span, *, without: str = "nothing", pipeline: str = "traces"
) -> Span:
    """The span (or, in a metrics pipeline, the data point) as it leaves the redaction.

    Args:
        config: Where the statements are read from; one that is not understood is an error.
        span: Left as it is.
        without: Statements that begin with this are skipped.
        pipeline: Whose processors are run.
    """
    span = copy.deepcopy(span)
    kind = {"traces": "trace_statements", "metrics": "metric_statements"}[kind_of(pipeline)]
    for processor in pipelines(config)[pipeline]["processors"]:
        settings = config["processors"][processor]
        if "spanevent.name != nil" in settings.get("trace_conditions", []):
            span.events = []
        for group in settings.get(kind, []):
            for statement in group["statements"]:
                if not statement.startswith(without):
                    run_statement(statement, span)
    return span


# convention → keys under which its instrumentations were seen to put text
TEXT_KEYS = {
    "OpenTelemetry GenAI": (
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
        "gen_ai.tool.description",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.tool.message",
        "gen_ai.agent.description",
        "gen_ai.request.stop_sequences",
        "gen_ai.evaluation.explanation",
        "gen_ai.retrieval.query.text",
        "gen_ai.retrieval.documents",
    ),
    "OpenTelemetry GenAI before 1.37, Traceloop": (
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.prompt.0.content",
        "gen_ai.completion.0.content",
        "gen_ai.completion.0.tool_calls.0.arguments",
        "gen_ai.content.prompt",
        "gen_ai.choice",
        "gen_ai.event.content",
        "gen_ai.user.message.content",
        "traceloop.entity.input",
        "traceloop.entity.output",
        "traceloop.prompt.template",
        "traceloop.association.properties.note",
        "llm.request.functions.0.description",
        "llm.prompts.0.content",
        "llm.completions.0.content",
    ),
    "OpenInference": (
        "input.value",
        "output.value",
        "metadata",
        "llm.input_messages.0.message.content",
        "llm.output_messages.0.message.content",
        "llm.prompts",
        "llm.prompt_template.template",
        "llm.prompt_template.variables",
        "llm.invocation_parameters",
        "llm.function_call",
        "llm.tools.0.tool.json_schema",
        "tool.parameters",
        "tool.description",
        "retrieval.documents.0.document.content",
        "reranker.query",
        "embedding.embeddings.0.embedding.text",
    ),
    "Logfire, Pydantic AI": (
        "request_data",
        "response_data",
        "all_messages_events",
        "pydantic_ai.all_messages",
        "final_result",
        "tool_arguments",
        "tool_response",
        "model_request_parameters",
        "events",
        "logfire.msg",
    ),
    "Vercel AI, Langfuse, LangSmith, MLflow": (
        "ai.prompt",
        "ai.prompt.messages",
        "ai.response.text",
        "ai.toolCall.args",
        "ai.values",
        "langfuse.observation.input",
        "langfuse.trace.output",
        "langsmith.metadata.note",
        "mlflow.spanInputs",
        "mlflow.spanOutputs",
    ),
    "any": (
        "exception.message",
        "exception.stacktrace",
        "error.message",
        "http.url",
        "url.full",
        "url.query",
        "http.request.body",
        "http.response.body.content",
        "db.statement",
        "db.query.text",
    ),
}

KEPT_KEYS = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.total_tokens",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.completion_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.audio.input_tokens",
    "gen_ai.usage.details.cached_tokens",
    "gen_ai.usage.cost",
    "gen_ai.aggregated_usage.input_tokens",
    "gen_ai.client.token.usage",
    "gen_ai.cost.total_cost",
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.system",
    "gen_ai.request.model",
    "gen_ai.request.max_tokens",
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.conversation.id",
    "gen_ai.agent.name",
    "gen_ai.agent.id",
    "llm.token_count.prompt",
    "llm.token_count.completion",
    "llm.token_count.prompt_details.cache_read",
    "llm.token_count.completion_details.reasoning",
    "llm.usage.total_tokens",
    "llm.model_name",
    "llm.provider",
    "llm.system",
    "llm.request.type",
    "openinference.span.kind",
    "traceloop.span.kind",
    "logfire.span_type",
    "operation.cost",
    "atm.call_id",
    "atm.decision",
    "atm.budget.name",
    "atm.user",
    "atm.team",
    "atm.app",
    "atm.env",
    "atm.session",
    "atm.department",
    "user.id",
    "enduser.id",
    "enduser.pseudo.id",
    "session.id",
    "error.type",
    "server.address",
)

KEPT_RESOURCE_KEYS = (
    "service.name",
    "service.version",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "atm.team",
    "user.id",
    "session.id",
    "host.name",
    "process.pid",
    "telemetry.sdk.version",
)

PLANTED = "the planted sentence"
ALL_TEXT_KEYS = [key for keys in TEXT_KEYS.values() for key in keys]


def check_text_is_removed(config: Config, *, without: str = "nothing") -> list[str]:
    span = redact(config, Span(dict.fromkeys(ALL_TEXT_KEYS, PLANTED)), without=without)
    return [f"{key} leaves the redaction with its text" for key in span.attributes]


def check_what_we_rely_on_is_kept(config: Config) -> list[str]:
    span = redact(config, Span(dict.fromkeys(KEPT_KEYS, 7), dict.fromkeys(KEPT_RESOURCE_KEYS, 7)))
    return [
        f"{key} is needed and does not survive the redaction"
        for wanted, found in ((KEPT_KEYS, span.attributes), (KEPT_RESOURCE_KEYS, span.resource))
        for key in wanted
        if found.get(key) != 7
    ]


def check_other_text_is_removed(config: Config) -> list[str]:
    span = redact(
        config,
        Span(
            attributes={"user.id": PLANTED * 20, "a.convention.of.tomorrow": PLANTED},
            resource={"process.command_args": PLANTED, "service.name": PLANTED * 20},
            scope={"note": PLANTED},
            name=PLANTED * 20,
            message=PLANTED,
            events=[PLANTED],
        ),
    )
    return [
        f"{part} still has planted text"
        for part, value in vars(span).items()
        if PLANTED in str(value)
    ]


def check_metrics_are_redacted(config: Config) -> list[str]:
    """Resource attributes of metrics become the labels of ``target_info``."""
    planted = Span({"atm.app": PLANTED * 20}, {"process.command_args": PLANTED})
    return [
        f"pipeline {name}: {part} still has planted text"
        for name, line in pipelines(config, "metrics").items()
        if not set(line["receivers"]) <= set(config["connectors"])
        for part, value in vars(redact(config, planted, pipeline=name)).items()
        if PLANTED in str(value)
    ]


def check_the_genai_filter_sees_what_is_kept(config: Config) -> list[str]:
    asked = re.compile(r'span\.attributes\["([^"]+)"\]')
    return [
        f"processor {name!r} decides on {key}, which redaction has removed"
        for name, settings in config["processors"].items()
        for condition in settings.get("trace_conditions", [])
        for key in asked.findall(condition)
        if key not in redact(config, Span({key: "x"})).attributes
    ]


# --- the committed file, and copies of it broken on purpose ------------------------------------

CHECKS: tuple[Check, ...] = (
    check_each_name_is_defined,
    check_each_definition_is_used,
    check_types_are_current,
    check_memory_limiter_is_first,
    check_environment_has_local_defaults,
    check_redaction_fails_closed,
    check_statement_groups_have_one_context,
    check_nothing_is_given_up,
    check_deltas_are_accumulated,
    check_expiry_agrees,
    check_tokens_are_counted_once,
    check_span_counters_are_one_metric_of_their_own,
    check_text_is_removed,
    check_what_we_rely_on_is_kept,
    check_other_text_is_removed,
    check_metrics_are_redacted,
    check_the_genai_filter_sees_what_is_kept,
)


@pytest.fixture(scope="module")
def config() -> Config:
    return load(CONFIG_FILE)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_committed_configuration_passes(config: Config, check: Check) -> None:
    assert check(config) == []


def rename(table: Config, old: str, new: str) -> None:
    table[new] = table.pop(old)


def spans_of(config: Config) -> list[Config]:
    """The metric definitions, apart from each other: YAML anchors share their parts."""
    connector = config["connectors"]["signal_to_metrics"]
    connector["spans"] = [yaml.safe_load(yaml.safe_dump(m)) for m in connector["spans"]]
    spans: list[Config] = connector["spans"]
    return spans


def statements_of(config: Config) -> list[str]:
    statements: list[str] = config["processors"]["transform/redact"]["trace_statements"][2][
        "statements"
    ]
    return statements


def replace_statement(config: Config, start: str, old: str, new: str) -> None:
    statements = statements_of(config)
    index = next(i for i, s in enumerate(statements) if s.startswith(start) and old in s)
    statements[index] = statements[index].replace(old, new)


KEEP = "keep_matching_keys(span"

# what is done to a copy, the check that must see it, and what it must say
MUTATIONS: tuple[tuple[Callable[[Config], object], Check, str], ...] = (
    (
        lambda c: c["exporters"].pop("otlp_http"),
        check_each_name_is_defined,
        "pipeline traces: exporters names 'otlp_http', which is undefined",
    ),
    (
        lambda c: rename(c["processors"], "transform/redact", "transform/redaction"),
        check_each_name_is_defined,
        "pipeline traces: processors names 'transform/redact', which is undefined",
    ),
    (
        lambda c: c["connectors"].clear(),
        check_each_name_is_defined,
        "pipeline metrics/spans: receivers names 'signal_to_metrics', which is undefined",
    ),
    (
        lambda c: c["extensions"].pop("health_check"),
        check_each_name_is_defined,
        "service.extensions names 'health_check', which is undefined",
    ),
    (
        lambda c: c["exporters"].update(debug={}),
        check_each_definition_is_used,
        "exporter 'debug' is defined and never used",
    ),
    (
        lambda c: c["service"]["extensions"].remove("health_check"),
        check_each_definition_is_used,
        "extension 'health_check' is defined and never used",
    ),
    (
        lambda c: c["service"]["pipelines"].pop("metrics/spans"),
        check_each_definition_is_used,
        "connector 'signal_to_metrics' is not among the receivers of any pipeline",
    ),
    (
        lambda c: rename(c["exporters"], "otlp_http", "otlphttp"),
        check_types_are_current,
        "exporter 'otlphttp' is deprecated: write otlp_http",
    ),
    (
        lambda c: rename(c["processors"], "delta_to_cumulative", "deltatocumulative"),
        check_types_are_current,
        "processor 'deltatocumulative' is deprecated: write delta_to_cumulative",
    ),
    (
        lambda c: c["processors"].update({"batch/spans": {}}),
        check_types_are_current,
        "processor 'batch/spans' is deprecated: write sending_queue.batch of the exporter",
    ),
    (
        lambda c: rename(c["connectors"], "signal_to_metrics", "tokens_to_metrics"),
        check_types_are_current,
        "connector type 'tokens_to_metrics' is not known in 0.159",
    ),
    (
        lambda c: c["service"]["pipelines"]["traces"]["processors"].reverse(),
        check_memory_limiter_is_first,
        "pipeline traces: memory_limiter is not the first processor",
    ),
    (
        lambda c: c["exporters"]["otlp_http"].update(endpoint="${env:ATM_SERVER_ENDPOINT}"),
        check_environment_has_local_defaults,
        (
            "exporters.otlp_http.endpoint: ${env:ATM_SERVER_ENDPOINT} has no default "
            "(write ${env:NAME:-…})"
        ),
    ),
    (
        lambda c: c["exporters"]["otlp_http"].update(endpoint="${env:X:-https://otlp.example.com}"),
        check_environment_has_local_defaults,
        "exporters.otlp_http.endpoint: 'https://otlp.example.com' is not an address of this host",
    ),
    (
        lambda c: c["extensions"]["health_check"].update(endpoint="0.0.0.0:13133"),
        check_environment_has_local_defaults,
        "extensions.health_check.endpoint: '0.0.0.0:13133' is not an address of this host",
    ),
    (
        lambda c: c["processors"]["transform/redact"].pop("error_mode"),
        check_redaction_fails_closed,
        (
            "processor 'transform/redact': error_mode is 'ignore', so what it fails on passes "
            "unredacted; write propagate"
        ),
    ),
    (
        lambda c: c["service"]["pipelines"]["traces"]["processors"].remove("transform/redact"),
        check_redaction_fails_closed,
        "pipeline traces: redaction does not follow memory_limiter",
    ),
    (
        lambda c: c["service"]["pipelines"].update(logs={"receivers": ["otlp"]}),
        check_redaction_fails_closed,
        "pipeline logs: log records are prompts, and nothing redacts them",
    ),
    (
        lambda c: c["service"]["telemetry"]["logs"].update(level="debug"),
        check_redaction_fails_closed,
        "service.telemetry.logs.level: debug logs whole spans before redaction",
    ),
    (
        lambda c: statements_of(c).append('set(spanevent.name, "event")'),
        check_statement_groups_have_one_context,
        (
            "processor 'transform/redact': ['span', 'spanevent'] share a list, so all statements "
            "run in the lowest context; write one group for each"
        ),
    ),
    (
        lambda c: c["exporters"]["otlp_http"]["retry_on_failure"].pop("max_elapsed_time"),
        check_nothing_is_given_up,
        "exporter 'otlp_http': retry_on_failure.max_elapsed_time is not 0",
    ),
    (
        lambda c: c["service"]["extensions"].remove("file_storage"),
        check_nothing_is_given_up,
        (
            "exporter 'otlp_http': sending_queue.storage 'file_storage' is not a defined and "
            "enabled extension"
        ),
    ),
    (
        lambda c: c["exporters"]["otlp_http"]["sending_queue"].pop("batch"),
        check_nothing_is_given_up,
        "exporter 'otlp_http': sending_queue.batch.max_size bounds no request",
    ),
    (
        lambda c: c["exporters"]["otlp_http"].update(compression="none"),
        check_nothing_is_given_up,
        "exporter 'otlp_http': compression is not gzip",
    ),
    (
        lambda c: c["service"]["pipelines"]["metrics/spans"]["processors"].pop(),
        check_deltas_are_accumulated,
        (
            "pipeline metrics/spans: ['signal_to_metrics'] emits deltas, and no "
            "delta_to_cumulative stands before ['prometheus/spans']"
        ),
    ),
    (
        lambda c: c["exporters"]["prometheus/spans"].pop("metric_expiration"),
        check_expiry_agrees,
        "exporter 'prometheus/spans': metric_expiration differs from max_stale '24h'",
    ),
    (
        lambda c: spans_of(c)[0].pop("conditions"),
        check_tokens_are_counted_once,
        "signal_to_metrics.spans[0]: counts operations that repeat their children's tokens",
    ),
    (
        lambda c: spans_of(c)[1]["attributes"].append({"key": "atm.user", "optional": True}),
        check_tokens_are_counted_once,
        "signal_to_metrics.spans[1]: atm.user makes a time series for each of its values",
    ),
    (
        lambda c: spans_of(c)[1]["attributes"].append({"key": "atm.region"}),
        check_tokens_are_counted_once,
        "signal_to_metrics.spans[1]: spans without atm.region are not counted (not optional)",
    ),
    (
        lambda c: spans_of(c)[0].update(name="atm.tokens"),
        check_span_counters_are_one_metric_of_their_own,
        "signal_to_metrics: atm.tokens is a name that the application may send too",
    ),
    (
        lambda c: spans_of(c).pop(),
        check_tokens_are_counted_once,
        "signal_to_metrics: counts [('input', 'span.attributes[\"gen_ai.usage.input_tokens\"]')]",
    ),
    (
        lambda c: replace_statement(c, KEEP, "^(", "^(input[.]value|.+[.]arguments|"),
        lambda c: check_text_is_removed(c, without="delete_matching_keys"),
        "gen_ai.tool.call.arguments leaves the redaction with its text",
    ),
    (
        lambda c: replace_statement(c, "delete", "prompt|completion|", ""),
        lambda c: check_text_is_removed(c, without=KEEP),
        "gen_ai.prompt.0.content leaves the redaction with its text",
    ),
    (
        lambda c: replace_statement(c, "delete", "^gen_ai[.](input", "^gen_ai[.](.*token|input"),
        check_what_we_rely_on_is_kept,
        "gen_ai.usage.input_tokens is needed and does not survive the redaction",
    ),
    (
        lambda c: replace_statement(c, KEEP, "^(", "^(a[.].+|"),
        check_other_text_is_removed,
        "attributes still has planted text",
    ),
    (
        lambda c: statements_of(c).remove('set(span.status.message, "")'),
        check_other_text_is_removed,
        "message still has planted text",
    ),
    (
        lambda c: c["service"]["pipelines"]["traces"]["processors"].remove("filter/drop_events"),
        check_other_text_is_removed,
        "events still has planted text",
    ),
    (
        lambda c: c["service"]["pipelines"]["metrics/app"]["processors"].remove("transform/redact"),
        check_metrics_are_redacted,
        "pipeline metrics/app: resource still has planted text",
    ),
    (
        lambda c: c["processors"]["transform/redact"]["metric_statements"].pop(),
        check_metrics_are_redacted,
        "pipeline metrics/app: attributes still has planted text",
    ),
    (
        lambda c: spans_of(c)[0].update(description="Input tokens"),
        check_span_counters_are_one_metric_of_their_own,
        "signal_to_metrics: one name, several descriptions or units; Prometheus shows one",
    ),
    (
        lambda c: replace_statement(c, KEEP, "system|", ""),
        check_the_genai_filter_sees_what_is_kept,
        "processor 'filter/genai_spans' decides on gen_ai.system, which redaction has removed",
    ),
)


@pytest.mark.parametrize(("mutate", "check", "says"), MUTATIONS, ids=[m[2][:70] for m in MUTATIONS])
def test_a_broken_copy_is_reported(
    config: Config, mutate: Callable[[Config], object], check: Check, says: str
) -> None:
    broken = copy.deepcopy(config)
    mutate(broken)
    assert [p for p in check(broken) if p.startswith(says)], check(broken)


def test_every_check_has_a_broken_copy() -> None:
    shown = {check.__name__ for _, check, _ in MUTATIONS} | {check_text_is_removed.__name__}
    assert {check.__name__ for check in CHECKS} <= shown


@pytest.mark.parametrize("convention", TEXT_KEYS)
@pytest.mark.parametrize("without", ["nothing", "delete_matching_keys", KEEP])
def test_either_list_alone_removes_the_text_of_each_convention(
    config: Config, convention: str, without: str
) -> None:
    span = redact(config, Span(dict.fromkeys(TEXT_KEYS[convention], PLANTED)), without=without)
    assert span.attributes == {}


def test_the_deny_list_alone_keeps_what_we_rely_on(config: Config) -> None:
    span = Span(dict.fromkeys(KEPT_KEYS, 7))
    assert redact(config, span, without=KEEP).attributes == span.attributes


def test_a_span_cannot_choose_the_label_of_its_tokens(config: Config) -> None:
    assert redact(config, Span({"gen_ai.token.type": "free"})).attributes == {}


def test_a_long_value_is_replaced_whole_and_a_short_one_is_left(config: Config) -> None:
    before = Span({"user.id": "u" * 257, "atm.team": "t" * 256, "atm.app": "a\n" * 200})
    after = {"user.id": "REDACTED", "atm.team": "t" * 256, "atm.app": "REDACTED"}
    assert redact(config, before).attributes == after


# --- the manifest and the page -----------------------------------------------------------------


def modules_wanted(config: Config) -> set[str]:
    return {
        known[kind_of(component)]
        for kind, known in KNOWN_TYPES.items()
        for component in config.get(kind, {})
    }


def check_manifest(config: Config, manifest: Config) -> list[str]:
    lines = [
        entry["gomod"].split()
        for kind in (*KNOWN_TYPES, "providers")
        for entry in manifest.get(kind, [])
    ]
    version = manifest["dist"]["version"]
    modules = {module for module, _ in lines if "/confmap/" not in module}
    problems = [f"no gomod line for {module}" for module in modules_wanted(config) - modules]
    problems += [f"{module} is built in, unused" for module in modules - modules_wanted(config)]
    problems += [
        f"{module} is {found}, the collector is {version}"
        for module, found in lines
        if module in modules and found != f"v{version}"
    ]
    if not any(module.endswith("/envprovider") for module, _ in lines):
        problems.append("no envprovider: ${env:…} would not resolve")
    return problems


def test_the_manifest_builds_exactly_the_components_of_the_configuration(config: Config) -> None:
    assert check_manifest(config, load(MANIFEST_FILE)) == []


def test_a_component_without_its_module_is_reported(config: Config) -> None:
    manifest = load(MANIFEST_FILE)
    removed = manifest["connectors"].pop()["gomod"].split()[0]
    assert check_manifest(config, manifest) == [f"no gomod line for {removed}"]


def test_a_module_of_another_release_is_reported(config: Config) -> None:
    manifest = load(MANIFEST_FILE)
    manifest["receivers"][0]["gomod"] = f"{CORE}/receiver/otlpreceiver v0.158.0"
    assert check_manifest(config, manifest) == [
        f"{CORE}/receiver/otlpreceiver is v0.158.0, the collector is 0.159.0"
    ]


def test_each_environment_variable_is_documented_with_its_default(config: Config) -> None:
    row = re.compile(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? *\|", re.MULTILINE)
    documented = {name: {default} for name, default in row.findall(GUIDE_FILE.read_text("utf-8"))}
    assert documented == environment(config)


def test_no_environment_variable_has_two_defaults(config: Config) -> None:
    assert {name: d for name, d in environment(config).items() if len(d) > 1} == {}
