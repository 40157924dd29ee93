"""onnxruntime, and what is fed to it. Knows graphs, not affines; imports onnxruntime only when a session is opened."""

from bnfold.runtime.inputs import describe, draw_inputs, find_sizes, load_inputs, vary_inputs
from bnfold.runtime.placement import Placement, describe_placement
from bnfold.runtime.probe import showing
from bnfold.runtime.providers import CPU, CUDA, installed_providers, provider_name, versions
from bnfold.runtime.sessions import FLOATS, ModelSource, Port, Session, open_session

__all__ = [
    "CPU",
    "CUDA",
    "FLOATS",
    "ModelSource",
    "Placement",
    "Port",
    "Session",
    "describe",
    "describe_placement",
    "draw_inputs",
    "find_sizes",
    "installed_providers",
    "load_inputs",
    "open_session",
    "provider_name",
    "showing",
    "vary_inputs",
    "versions",
]
