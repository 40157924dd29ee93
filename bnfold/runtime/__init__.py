"""onnxruntime, and what is fed to it. Knows graphs, not affines; imports onnxruntime only when a session is opened."""

from bnfold.runtime.axes import given_sizes, open_axes, parse_shapes
from bnfold.runtime.data import Data, load_data
from bnfold.runtime.hints import Hints, hints_of
from bnfold.runtime.inputs import describe, draw_inputs, vary_inputs
from bnfold.runtime.placement import Placement, describe_placement
from bnfold.runtime.probe import showing
from bnfold.runtime.providers import CPU, CUDA, installed_providers, provider_name, versions
from bnfold.runtime.sessions import FLOATS, ModelSource, Port, Session, open_session
from bnfold.runtime.sizes import SizeSearch, find_sizes, implied_sizes, size_words

__all__ = [
    "CPU",
    "CUDA",
    "FLOATS",
    "Data",
    "Hints",
    "ModelSource",
    "Placement",
    "Port",
    "Session",
    "SizeSearch",
    "describe",
    "describe_placement",
    "draw_inputs",
    "find_sizes",
    "given_sizes",
    "hints_of",
    "implied_sizes",
    "installed_providers",
    "load_data",
    "open_axes",
    "open_session",
    "parse_shapes",
    "provider_name",
    "showing",
    "size_words",
    "vary_inputs",
    "versions",
]
