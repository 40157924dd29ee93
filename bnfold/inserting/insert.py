"""Put BatchNormalizations into a model, so that it can be trained and computes what it computed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from onnx import ModelProto

import bnfold.ops  # noqa: F401 (shapes and constants of every operator)
from bnfold.errors import ModelError, UsageError
from bnfold.inserting.batch_axis import symbolic_batch
from bnfold.inserting.batch_frozen import find_frozen
from bnfold.inserting.bias import bias_of
from bnfold.inserting.functions import put_in_place
from bnfold.inserting.moments import Moments
from bnfold.inserting.opsets import converted
from bnfold.inserting.options import ABSORB, SYMBOLIC, Options
from bnfold.inserting.parameters import Parameters, calibrated, identity, reset
from bnfold.inserting.placing import Placed, place
from bnfold.inserting.remade import Remade
from bnfold.inserting.sharing import unshare
from bnfold.inserting.sites import EARLIEST_OPSET, Site, Skipped, find_sites
from bnfold.inserting.statistics import Feeds, Measured, measure
from bnfold.inserting.training_form import EARLIEST_OPSET as TRAINING_OPSET
from bnfold.inserting.training_form import REMARK as TRAINING_REMARK
from bnfold.inserting.training_form import refuse_too_old, training_form
from bnfold.inserting.view import View
from bnfold.model.container import Container, M, ModelLike, open_model
from bnfold.model.graph import Graph
from bnfold.model.names import Names
from bnfold.model.patch import Patch, apply


@dataclass(frozen=True)
class Inserted:
    """A BatchNormalization that was put in.

    Attributes:
        node: its name.
        behind: the linear operator that it stands behind: its name, or operator and output where it has none.
        op_type: the linear operator's operator.
        channels: how many channels it has.
        parameters: the names of its scale, bias, mean and variance, initializers of their own.
    """

    node: str
    behind: str
    op_type: str
    channels: int
    parameters: tuple[str, str, str, str]


@dataclass(frozen=True, eq=False, kw_only=True)
class InsertResult(Remade[M]):
    """A model with BatchNormalizations, and where they are. True where one was put in.

    Attributes:
        base: what the normalizations were put into: the model as it came in, or in another opset, with an open batch,
            with functions in the place of their calls.
        inference_model: the new model with no node of it in training mode, which computes what `base` computes.
        inserted: what was put in, in the order of the file.
        skipped: every linear operator that got none, and why.
    """

    base: ModelProto
    inference_model: ModelProto
    inserted: tuple[Inserted, ...]
    skipped: tuple[Skipped, ...]

    def __bool__(self) -> bool:
        return bool(self.inserted)


def insert(
    model: ModelLike,
    batches: Iterable[Feeds] | None = None,
    options: Options | None = None,
    *,
    base_dir: str | os.PathLike[str] | None = None,
) -> InsertResult:
    """Put a BatchNormalization behind every linear operator that should have one.

    Args:
        model: a path, the bytes of a file, or an `onnx.ModelProto`, which is not changed.
        batches: sets of inputs, over which the statistics of each place are measured; without them, what is put in is
            an identity.
        options: what the caller asks for.
        base_dir: the folder of external data, when the model is not given as a path.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read; its opset is too old, or
            can not be converted; its batch can not be made symbolic.
        UsageError: `model` is no model, an option names an operator that is not there or an opset that does not do, or
            the data do not do.
    """
    options = options or Options()
    if options.reset and batches is None:
        raise UsageError("a reset takes its statistics from data; give some, with --data")
    container = open_model(model, base_dir=base_dir)
    base, remarks = _prepared(container, options)
    view = View(container, base)
    sites, skipped = find_sites(view, options)
    moments = {} if batches is None or not sites else _measured(view, sites, batches)
    made = _made(view, sites, skipped, moments, options)
    made = replace(made, remarks=(*remarks, *made.remarks))
    return _in_training(made) if options.training_mode and made else made


def _prepared(container: Container, options: Options) -> tuple[ModelProto, tuple[str, ...]]:
    """The model in the form that normalizations are put into, and what was done for it."""
    model, functions = put_in_place(container.proto, options)
    remarks = list(functions)
    if options.convert_opset is not None:
        before, needed = model, TRAINING_OPSET if options.training_mode else EARLIEST_OPSET
        model = converted(container, before, options.convert_opset, needed)
        if model is not before:
            remarks.append(f"converted to opset {Graph(model).main.opsets['']}, with onnx.version_converter")
    view = View(container, model)
    refuse_old(view)
    if options.training_mode:
        refuse_too_old(view.graph, container.name)
    frozen = find_frozen(model) if options.batch == SYMBOLIC else None
    if frozen is not None:
        model = symbolic_batch(container, model)
        remarks.append(f"the batch, which was {frozen.size}, is open now, and called '{frozen.symbol}'")
    return model, tuple(remarks)


def _in_training(made: InsertResult) -> InsertResult:
    model = training_form(made.model, {entry.node for entry in made.inserted})
    return replace(made, model=model, remarks=(*made.remarks, TRAINING_REMARK))


def _measured(view: View, sites: Sequence[Site], batches: Iterable[Feeds]) -> dict[Site, Moments]:
    """The moments at every site of the main graph; what is inside of bodies can not be shown by a run."""
    main = [site for site in sites if site.value.scope is view.graph.main]
    wanted = {site.value.name: Measured(site.value.name, site.axis, site.channels) for site in main}
    found = measure(view.container, view.graph.model, list(wanted.values()), batches) if wanted else {}
    return {site: found[site.value.name] for site in main}


def refuse_old(view: View) -> None:
    """BatchNormalization with one output per statistic came with opset 7.

    Raises:
        ModelError: the model imports an older opset.
    """
    opset = view.graph.main.opsets.get("", EARLIEST_OPSET)
    if opset < EARLIEST_OPSET:
        raise ModelError(
            f"{view.container.name} has opset {opset}, and BatchNormalization for training needs {EARLIEST_OPSET} or "
            "newer; convert it first, with onnx.version_converter or --convert-opset"
        )


def _made(
    view: View, sites: list[Site], skipped: list[Skipped], moments: Mapping[Site, Moments], options: Options
) -> InsertResult:
    patch, names = Patch(), Names(view.graph)
    inserted = []
    for site in sites:
        found = moments.get(site)
        absorb = options.bias == ABSORB or (options.bias is None and found is not None)
        bias = bias_of(view, site) if absorb and _is_fixed(view, site) else None
        parameters = _parameters(site, found, options)
        inserted.append(_inserted(site, place(site, parameters, bias, patch, names, options)))
    shared = unshare(view, patch, names)
    model = apply(patch, view.graph) if inserted or shared else view.graph.model
    return InsertResult(
        container=view.container,
        model=model,
        base=view.graph.model,
        inference_model=model,
        inserted=tuple(inserted),
        skipped=tuple(skipped),
        remarks=tuple(_remarks(sites, moments, shared)),
        fresh=patch.fresh_names,
    )


def _is_fixed(view: View, site: Site) -> bool:
    """Whether no caller may override the bias of a site (ONNX IR, from version 4 on): then it has to stay an input."""
    read = [*site.linear.inputs[2:], *(site.bias.inputs if site.bias is not None else ())]
    return not any(value is not None and view.graph.is_overridable(value) for value in read)


def _parameters(site: Site, found: Moments | None, options: Options) -> Parameters:
    if found is None:
        return identity(site.channels, options.epsilon, site.elem_type)
    if options.reset:
        return reset(found.mean, found.variance)
    return calibrated(found.mean, found.variance, options.epsilon, site.elem_type)


def _remarks(sites: Sequence[Site], moments: Mapping[Site, Moments], shared: Sequence[str]) -> Iterator[str]:
    for site in sites:
        if moments and site not in moments:
            yield f"{site.linear.label} stands in a body, where no data can be measured: it gets an identity"
        elif moments and moments[site].dead:
            yield (
                f"{moments[site].dead} of {site.channels} channels behind {site.linear.label} never change on these "
                "data: their variance is 0"
            )
    for name in shared:
        yield f"'{name}' stood for several equal parameters; each has its own now, so that it can be trained"


def _inserted(site: Site, placed: Placed) -> Inserted:
    return Inserted(placed.node, site.linear.label, site.linear.op_type, site.channels, placed[1:5])
