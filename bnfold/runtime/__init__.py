"""onnxruntime, and what is fed to it. Knows graphs, not affines; imports onnxruntime only when a session is opened."""

from bnfold.runtime.inputs import describe, draw_inputs, find_sizes, load_inputs, vary_inputs
from bnfold.runtime.sessions import CPU, CUDA, FLOATS, ModelSource, Port, Session, open_session

__all__ = [
    "CPU",
    "CUDA",
    "FLOATS",
    "ModelSource",
    "Port",
    "Session",
    "describe",
    "draw_inputs",
    "find_sizes",
    "load_inputs",
    "open_session",
    "vary_inputs",
]
