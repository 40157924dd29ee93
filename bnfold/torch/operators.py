"""All translations: importing this fills the registry."""

from __future__ import annotations

from bnfold.torch import operators_control as operators_control
from bnfold.torch import operators_indexing as operators_indexing
from bnfold.torch import operators_layout as operators_layout
from bnfold.torch import operators_linear as operators_linear
from bnfold.torch import operators_logic as operators_logic
from bnfold.torch import operators_normalization as operators_normalization
from bnfold.torch import operators_pointwise as operators_pointwise
from bnfold.torch import operators_pooling as operators_pooling
from bnfold.torch import operators_recurrent as operators_recurrent
from bnfold.torch import operators_reduction as operators_reduction
from bnfold.torch import operators_resize as operators_resize
from bnfold.torch import operators_scaling as operators_scaling
from bnfold.torch import operators_sequences as operators_sequences
from bnfold.torch import operators_sizes as operators_sizes
