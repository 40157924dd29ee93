"""Random small graphs with weights and biases in integers: folded equals original, whatever the graph."""

from random_quantized.layers import Drawn, draw

__all__ = ["Drawn", "draw"]
