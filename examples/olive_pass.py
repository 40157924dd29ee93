"""bnfold as a pass of Olive: between its conversion and its quantization, or wherever a workflow names it.

Run it: python examples/olive_pass.py MODEL FOLDER    (needs bnfold[cpu,ir] and olive-ai, which brings torch)

It folds MODEL in a workflow of one pass, and FOLDER gets the result. In a workflow of your own, name the pass in the
package configuration, which is the last argument of `olive.workflows.run`, and then in the passes of the workflow:

    "passes": {"fold": {"type": "BnfoldPass", "prefer": "speed"}, "quantize": {"type": "OnnxStaticQuantization", ...}}

Olive reports its use to its makers, unless OLIVE_DISABLE_TELEMETRY is 1.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from olive.hardware.accelerator import AcceleratorSpec
from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.passes import Pass
from olive.passes.onnx.common import get_external_data_config, ir_model_to_olive_model
from olive.passes.pass_config import BasePassConfig, PassConfigParam
from olive.workflows import run

import bnfold
from bnfold.passes import FoldPass


class BnfoldPass(Pass):  # type: ignore[misc]  # olive is untyped
    """Fold every BatchNormalization that can be folded exactly."""

    @classmethod
    def _default_config(cls, accelerator_spec: AcceleratorSpec) -> dict[str, PassConfigParam]:
        return {
            "prefer": PassConfigParam(type_=str, default_value="speed", description="speed, or no-batchnorm"),
            "strict": PassConfigParam(type_=bool, default_value=False, description="fail where one stays"),
            **get_external_data_config(),
        }

    def _run_for_config(
        self, model: ONNXModelHandler, config: BasePassConfig, output_model_path: str
    ) -> ONNXModelHandler:
        target = resolve_onnx_path(output_model_path, Path(model.model_path).name)
        graph = model.load_ir_model()
        FoldPass(prefer=config.prefer, strict=config.strict)(graph)
        return ir_model_to_olive_model(graph, target, config)


def main(model: Path, folder: Path) -> None:
    """Run a workflow of this pass alone, and compare what comes out with what went in."""
    known: dict[str, Any] = {
        "module_path": f"{Path(__file__).stem}.BnfoldPass",
        **{f"supported_{what}": ["*"] for what in ("providers", "accelerators", "precisions")},
    }
    workflow = {
        "input_model": {"type": "ONNXModel", "model_path": str(model)},
        "passes": {"fold": {"type": "BnfoldPass", "strict": True}},
        "output_dir": str(folder),
        "evaluate_input_model": False,
    }
    with tempfile.TemporaryDirectory() as place:
        package = Path(place, "package.json")
        package.write_text(json.dumps({"passes": {"BnfoldPass": known}}), encoding="utf-8")
        run({**workflow, "cache_dir": str(Path(place, "cache"))}, package_config=str(package))
    (result,) = folder.rglob("*.onnx")
    report = bnfold.assert_equivalent(model, result)
    print(f"{result.name}: {len(bnfold.inspect(result))} affines left, equal on {report.provider}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
