"""Random networks of the shapes that people train, for `random_models` to insert into, calibrate, fold and compare."""

from random_networks.build import Network, build
from random_networks.families import FAMILIES

__all__ = ["FAMILIES", "Network", "build"]
