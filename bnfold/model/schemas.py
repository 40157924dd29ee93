"""What the installed onnx knows of an operator at a version of its domain; each question is put to it once."""

from __future__ import annotations

from functools import cache
from typing import Any

from onnx import AttributeProto, defs, helper

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


def default_of(op_type: str, domain: str, version: int, name: str) -> Any:  # noqa: ANN401 (an attribute is of any type)
    """The value of an attribute that a node does not set; None where the definition says none."""
    value = _default_of(op_type, domain, version, name)
    return list(value) if isinstance(value, list) else value  # a list may be changed by whoever gets it


@cache
def _default_of(op_type: str, domain: str, version: int, name: str) -> Any:  # noqa: ANN401
    specified = attributes_of(op_type, domain, version).get(name)
    if specified is None or specified.default_value.type == AttributeProto.UNDEFINED:
        return None
    return value_of(specified.default_value)


def value_of(attribute: AttributeProto) -> Any:  # noqa: ANN401
    """The value that an attribute holds, text as text."""
    value = helper.get_attribute_value(attribute)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


@cache
def _schema(op_type: str, domain: str, version: int) -> defs.OpSchema | None:
    """The definition that holds at `version` of the domain, None where the installed onnx knows none."""
    try:
        return defs.get_schema(op_type, version, domain)
    except (defs.SchemaError, TypeError):  # TypeError: a version of more than 32 bits
        return None
