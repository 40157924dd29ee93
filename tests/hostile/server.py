"""A process that has bnfold imported, and runs each call in a process of its own, with limits.

    python tests/hostile/server.py < requests > answers

A request is a line of JSON: ``arguments`` of the command line (or "api": the functions of the package), ``folder`` to
be in, ``out`` and ``err`` (files), ``seconds`` of the clock, ``bytes``. The answer to it is one too: ``status``,
``signal``, ``seconds`` of the processor, and ``peak``, by how many bytes its memory grew at most. Starting a Python
with bnfold and onnxruntime takes a second; a fork of one takes none.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np  # noqa: F401 - what every call needs
import onnx.shape_inference  # noqa: F401
import onnxruntime  # noqa: F401
from google.protobuf.message import DecodeError
from onnx import ModelProto

import bnfold
import bnfold.api
import bnfold.cli
import bnfold.report.checks
import bnfold.report.insertion


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run one request, and say what came of it."""
    before = _resident()
    begun = time.monotonic()
    child = os.fork()
    if not child:
        _call(request)
    status, peak, seconds = _waited(child, begun + request["seconds"])
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return {
        "status": -1 if killed else os.WEXITSTATUS(status),
        "signal": signal.Signals(killed).name if killed else "",
        "seconds": seconds,
        "peak": max(peak - before, 0),
    }


def _call(request: dict[str, Any]) -> NoReturn:
    """In the new process: the command line, as `python -m bnfold` is."""
    os.setsid()
    for path, stream in ((request["out"], 1), (request["err"], 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    limit = _virtual() + request["bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(request["folder"])
    sys.argv = ["bnfold", *request["arguments"]]
    try:
        if request["arguments"] == ["api"]:
            _call_functions()
        bnfold.cli.main()
    except SystemExit as ended:
        code = ended.code
        status = code if isinstance(code, int) else int(code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _call_functions() -> NoReturn:
    """The functions of the package on the bytes of a model and on the message: a `BnfoldError`, or a result."""
    raw = Path("model.onnx").read_bytes()
    try:
        models: list[bytes | ModelProto] = [raw, ModelProto.FromString(raw)]
    except DecodeError:
        models = [raw]
    for model in models:
        for function in (bnfold.inspect, bnfold.fold, bnfold.insert):
            with suppress(bnfold.BnfoldError):
                result = function(model, base_dir=".")
                if not isinstance(result, bnfold.Inspection):
                    ModelProto.FromString(result.model.SerializeToString())
    sys.exit(0)


def _waited(child: int, deadline: float) -> tuple[int, int, float]:
    """The status of a process that ends, or is killed at the deadline; its largest size, and its processor's time."""
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            return status, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.002)


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Answer requests until there are no more."""
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
