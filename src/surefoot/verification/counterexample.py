"""Counterexamples to specifications: checked by onnxruntime where it is installed, and written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from surefoot.files import write_whole

Network = Callable[[np.ndarray], np.ndarray]


def runtime_of(path: Path | str) -> Network | None:
    """Return an ONNX file as onnxruntime runs it, on one flat input; None if that is not installed.

    Raises:
        ValueError: onnxruntime does not run the file.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own kinds, all derived from Exception
        raise ValueError(f"onnxruntime does not run {path}: {error}") from error
    given = next(one for one in session.get_inputs())
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in given.shape]
    kind = np.float64 if "double" in given.type else np.float32

    def run(point: np.ndarray) -> np.ndarray:
        outputs = session.run(None, {given.name: point.astype(kind).reshape(shape)})
        return np.asarray(outputs[0], dtype=np.float64).reshape(-1)

    return run


def write_counterexample(path: Path, point: np.ndarray, outputs: np.ndarray) -> None:
    """Write inputs and outputs in the form of VNN-COMP: ((X_0 0.5) ... (Y_0 -1.25) ...)."""
    lines = [f"(X_{place} {_decimal(value)})" for place, value in enumerate(point)]
    lines += [f"(Y_{place} {_decimal(value)})" for place, value in enumerate(outputs)]
    write_whole(path, ("(" + "\n ".join(lines) + ")\n").encode())


def _decimal(value: float) -> str:
    """Write a number so that reading it as float64 gives its very bits, without an exponent."""
    return np.format_float_positional(np.float64(value), trim="0")
