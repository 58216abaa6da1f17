"""compute-sanitizer on the smallest cases, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.gpu.checks import Outcome

#: Programs and forms that between them have every loop shape, with the tool that looks at them.
CASES = (
    ("memcheck", "gated_delta_net", "chunked"),
    ("memcheck", "hgrn", "scan"),
    ("memcheck", "gru", "sequential"),
    ("memcheck", "gated_linear_attention", "chunked"),
    ("racecheck", "gated_delta_net", "chunked"),
    ("racecheck", "hgrn", "scan"),
)
_SECONDS = 150.0
_FAULT = 86


def tool() -> str | None:
    """Where compute-sanitizer is, if it is anywhere."""
    usual = "/usr/local/cuda/bin/compute-sanitizer"
    return shutil.which("compute-sanitizer") or (usual if os.access(usual, os.X_OK) else None)


def check(kind: str, program: str, form: str, seconds: float) -> list[Outcome]:
    """Runs the smallest case of a program under one of the tools."""
    found = tool()
    name = f"compute-sanitizer {kind}"
    if found is None:
        return [Outcome(name, "odd", "none", note="compute-sanitizer is not on this machine")]
    command = [found, "--tool", kind, "--error-exitcode", str(_FAULT), sys.executable, "-m", "tests.gpu", "--inline",
               "--only", program, "--forms", form, "--dtypes", "float32", "--checks", "numbers", "--small"]  # fmt: skip
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    limit = min(_SECONDS, seconds)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return [Outcome(name, "odd", "none", note=f"not finished within {limit:.0f} s")]
    text = (done.stdout + done.stderr)[-3000:]
    if done.returncode == 0:
        return [Outcome(name, "odd", "ok")]
    if "Device not supported" in text or "not supported on this" in text:
        return [Outcome(name, "odd", "none", note="the tool does not support this device here")]
    return [Outcome(name, "odd", "failed", float("inf"), text)]


__all__ = ["CASES", "check", "tool"]
