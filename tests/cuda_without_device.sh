#!/usr/bin/env bash
# What bnfold says where onnxruntime-gpu is installed and no device is there: a sentence and status 2, never a run on
# the CPU that passes for one on CUDA. Run by hand or in CI's long job, on a machine without NVIDIA's driver:
#
#     tests/cuda_without_device.sh [PYTHON]        # downloads onnxruntime-gpu, about 250 MB, into a temporary folder
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python="$work/venv/bin/python"
model=models/residual.onnx

fail() { echo "FAILED: $*" >&2; sed 's/^/    /' "$work/out" "$work/err" >&2; exit 1; }

# Run a command; `status`, out and err are what it gave.
try() { status=0; "$@" >"$work/out" 2>"$work/err" || status=$?; }

expect() { # STATUS TEXT, which has to be in what the last command printed
    [ "$status" = "$1" ] || fail "status $status instead of $1"
    grep -qF -- "$2" "$work/out" "$work/err" || fail "it does not say: $2"
    ! grep -qF Traceback "$work/out" "$work/err" || fail "a traceback"
    ! grep -qE 'onnxruntime:|Failed to load' "$work/out" "$work/err" || fail "onnxruntime's own log"
    echo "ok: $(grep -hF -- "$2" "$work/out" "$work/err" | head -n 1)"
}

check() { try "$python" -m bnfold check "$model" "$model" --provider "$1"; }

"${1:-python3}" -m venv "$work/venv"
"$python" -m pip install -q --disable-pip-version-check -e . onnxruntime-gpu pytest hypothesis >"$work/pip" 2>&1 || { cat "$work/pip"; exit 1; }
! "$python" -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null || { echo "there is a driver on this machine: run pytest -m cuda instead" >&2; exit 1; }

echo "-- onnxruntime-gpu alone"
check cuda
expect 2 "there is no NVIDIA driver on this machine (libcuda.so.1 can not be loaded)"
check CUDAExecutionProvider
expect 2 "there is no NVIDIA driver on this machine"
check all
expect 0 "CUDAExecutionProvider is left out"
check cpu
expect 0 "CPUExecutionProvider"

echo "-- the libraries that are missing beside the driver"
try "$python" -c 'from bnfold.runtime.providers import library_problem; print(library_problem())'
expect 0 "a library is missing: libcublas"

echo "-- the tests that concern CUDA"
try "$python" -m pytest -q -m cuda -rs tests/test_cuda.py
expect 0 "there is no NVIDIA driver on this machine"
! grep -qE '[0-9]+ passed' "$work/out" || fail "a test of CUDA passed without a device"
try "$python" benchmarks/cuda.py
expect 2 "there is no NVIDIA driver on this machine"

echo "-- onnxruntime and onnxruntime-gpu at once"
"$python" -m pip install -q --disable-pip-version-check onnxruntime >"$work/pip" 2>&1 || { cat "$work/pip"; exit 1; }
check cuda
expect 2 "pip uninstall onnxruntime onnxruntime-gpu"
check cpu
expect 0 "CPUExecutionProvider"
