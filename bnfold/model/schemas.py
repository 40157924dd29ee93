"""What the installed onnx knows of an operator at a version of its domain; each question is put to it once."""

from __future__ import annotations

from functools import cache

from onnx import defs

ONNX_DOMAIN = ""


@cache
def since_version(op_type: str, domain: str, version: int) -> int:
    """The version in which the operator got the definition that holds at `version`; 0 when no one knows it."""
    if domain == ONNX_DOMAIN and version > defs.onnx_opset_version():
        return 0
    schema = _schema(op_type, domain, version)
    return schema.since_version if schema else 0


@cache
def required_attributes(op_type: str, domain: str, version: int) -> tuple[str, ...]:
    """The attributes that the operator requires."""
    return tuple(name for name, entry in attributes_of(op_type, domain, version).items() if entry.required)


@cache
def attributes_of(op_type: str, domain: str, version: int) -> dict[str, defs.OpSchema.Attribute]:
    """What the definition says of each attribute. Kept, since a schema makes them anew each time."""
    schema = _schema(op_type, domain, version)
    return dict(schema.attributes) if schema else {}


@cache
def _schema(op_type: str, domain: str, version: int) -> defs.OpSchema | None:
    """The definition that holds at `version` of the domain, None where the installed onnx knows none."""
    try:
        return defs.get_schema(op_type, version, domain)
    except (defs.SchemaError, TypeError):  # TypeError: a version of more than 32 bits
        return None
