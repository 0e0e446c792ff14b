"""Values that satisfy a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_SCALARS: Mapping[str, Any] = {
    "boolean": True,
    "integer": 1,
    "null": None,
    "number": 1.5,
    "string": "river",
}


def sample(schema: Schema) -> Any:
    """A value that `schema` allows; always the same one.

    It knows objects, arrays, scalars, `const`, `enum`, `anyOf`, `allOf`, `oneOf` and references to
    `$defs`: what the schemas of tools and of structured outputs are made of.
    """
    return _sample(schema, schema)


def _sample(schema: Schema, root: Schema) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return _sample(_resolve(schema["$ref"], root), root)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            # The last one is null where a value may be left out: that ends recursive schemas.
            return _sample(schema[choice][-1], root)
    return _of_type(schema, root)


def _of_type(schema: Schema, root: Schema) -> Any:
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0]
    kind = str(kind).lower()  # Gemini has them in capitals
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _sample(inner, root) for name, inner in properties.items()}
    if kind == "array":
        return [_sample(schema["items"], root) for _ in range(schema.get("minItems", 0))]
    return _SCALARS.get(kind)


def _resolve(reference: str, root: Schema) -> Schema:
    target = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        target = target[step] if step else target
    return target
