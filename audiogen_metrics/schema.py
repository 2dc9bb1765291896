"""The JSON Schema of a report, made from the classes that a report is made of.

``python -m audiogen_metrics.schema > audiogen_metrics/schemas/score_report.schema.json`` writes the shipped one, which
knows this library's metrics; `score_report_schema` knows those of installed packages too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from audiogen_metrics.metrics import OWN, catalogue
from audiogen_metrics.results import SCHEMA_VERSION, InputSummary, Manifest, Score, ScoreReport
from audiogen_metrics.writing import json_text

__all__ = ["score_report_schema"]

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}

_NAME = {"pattern": "^[a-z0-9_]+$"}
_TEXT = {"minLength": 1}
_COUNT = {"minimum": 0}
_HASH = {"pattern": "^[0-9a-f]{64}$"}
_NAMES = {"type": "array", "items": {"type": "string"}}


def _closed(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has all these properties and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [*properties],
        "properties": properties,
    }


_SKIPPED = _closed(clip={"type": "string"}, path={"type": "string"}, reason={"type": "string"})
_SKIPPED["properties"]["fix"] = {
    "type": "string",
    "description": "What would mend it, where that is known, with this file in its commands.",
}
_BACKBONE = {
    "type": "object",
    "required": ["name", "weights_sha256", "numerics_version", "device_type", "dtype"],
    "properties": {
        "name": {"type": "string", **_TEXT},
        "weights_sha256": {"type": "string", **_HASH},
        "numerics_version": {"type": "integer", "minimum": 1},
        "device_type": {"type": "string"},
        "dtype": {"type": "string"},
    },
    "additionalProperties": {"type": ["string", "integer"]},
}
_RECIPE = {
    "type": "object",
    "required": ["backbone", "sample_rate", "channel", "resampler"],
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
}

CONSTRAINTS: Mapping[type, Mapping[str, Mapping[str, Any]]] = {
    Score: {"id": _NAME, "backbone": _TEXT, "n_gen": _COUNT, "n_ref": _COUNT, "std": _COUNT},
    InputSummary: {
        "found": _COUNT,
        "scored": {"minimum": 1},
        "ignored": _COUNT,
        "seconds": _COUNT,
        "digest": _HASH,
        "skipped": {"items": {"$ref": "#/$defs/skipped"}},
        "left_out": {"additionalProperties": {"type": "array", "items": {"$ref": "#/$defs/skipped"}}},
        "files": {"additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{40}$"}},
    },
    Manifest: {
        "metrics": {"minItems": 1},
        "limit": {"minimum": 1},
        "batch_size": {"minimum": 1},
        "recipes": {"minProperties": 1, "additionalProperties": _RECIPE},
        "suffixes": {"items": {"type": "string", "pattern": r"^\.[a-z0-9]+$"}},
        "seed": _COUNT,
    },
    ScoreReport: {
        "scores": {"minProperties": 1, "propertyNames": _NAME},
        "protocol": _TEXT,
        "pairing": _closed(
            mode={"enum": ["auto", "id", "none"]},
            paired={"type": "integer", **_COUNT},
            gen_only=_NAMES,
            ref_only=_NAMES,
        ),
        "backbones": {"additionalProperties": {"$ref": "#/$defs/backbone"}},
        "device": _TEXT,
        "versions": {"required": ["audiogen-metrics", "torch"]},
    },
}
"""What the types of fields do not say of them, by class and field."""

_DEFS: Mapping[Any, str] = {Score: "score", InputSummary: "input", Manifest: "manifest"}

# A score has a value or a reason, never both.
_VALUE_OR_REASON = {
    "if": {"properties": {"value": {"type": "null"}}},
    "then": {"properties": {"reason": {"type": "string", "minLength": 1}}},
    "else": {"properties": {"reason": {"type": "null"}}},
}


def score_report_schema(metrics: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a report.

    Parameters
    ----------
    metrics
        Names that a score's metric may have; None takes all that can be computed here, plug-ins included.

    Examples
    --------
    >>> schema = score_report_schema()
    >>> "kid" in schema["$defs"]["score"]["properties"]["metric"]["enum"]
    True
    """
    report = _object(ScoreReport)
    properties = report["properties"]
    inputs = {name: properties.pop(name) for name in ("gen", "ref")}
    report["required"] = ["schema_version", *(name for name in report["required"] if name not in inputs), "inputs"]
    properties["inputs"] = _closed(**inputs)
    score = _object(Score) | _VALUE_OR_REASON
    score["properties"]["metric"]["enum"] = [*(catalogue() if metrics is None else metrics)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://audiogen-metrics.readthedocs.io/schemas/score_report.schema.json",
        "title": "Score report of audiogen-metrics",
        **report,
        "properties": {"schema_version": {"const": SCHEMA_VERSION}, **properties},
        "$defs": {
            "score": score,
            "backbone": _BACKBONE,
            "input": _object(InputSummary),
            "skipped": _SKIPPED,
            "manifest": _object(Manifest),
        },
    }


def _object(kind: type) -> dict[str, Any]:
    """Return the schema of a dataclass; what its fields mean comes from its docstring."""
    hints, said, known = get_type_hints(kind), _described(kind.__doc__ or ""), CONSTRAINTS[kind]
    properties, required = {}, []
    for field in dataclasses.fields(kind):
        properties[field.name] = {**_type(hints[field.name]), **known.get(field.name, {})}
        if field.name in said:
            properties[field.name]["description"] = said[field.name]
        if "later" not in field.metadata:
            required.append(field.name)
    return {
        "description": (kind.__doc__ or "").partition("\n")[0],
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _type(hint: Any) -> dict[str, Any]:
    """Return the schema of a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    if dataclasses.is_dataclass(hint):
        return {"$ref": f"#/$defs/{_DEFS[hint]}"}
    if origin is Literal:
        return {"enum": [*arguments]}
    if origin in (Union, UnionType):
        kinds = [each for each in arguments if each is not NoneType]
        schema = _type(float if float in kinds else kinds[0])
        return _optional(schema) if NoneType in arguments else schema
    if origin is tuple:
        several = {} if arguments[-1] is Ellipsis else {"minItems": len(arguments), "maxItems": len(arguments)}
        return {"type": "array", "items": _type(arguments[0]), **several}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _type(arguments[1])}
    return {}


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that takes null too."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    return schema | {"type": [schema["type"], "null"]}


def _described(docstring: str) -> dict[str, str]:
    """Return what a numpydoc docstring says of each field."""
    found = {}
    # From Python 3.13 on, the compiler has taken the indentation away.
    for names, text in re.findall(r"^(\w+(?:, \w+)*)\n((?:    .*\n?)+)", cleandoc(docstring), re.MULTILINE):
        said = re.sub(r"\bNone\b", "null", " ".join(text.split()).replace("`", ""))
        found.update(dict.fromkeys(names.split(", "), said))
    return found


if __name__ == "__main__":
    print(json_text(score_report_schema(OWN)))
