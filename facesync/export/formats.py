"""The formats a model can be exported to: how each is written, and opened for the comparison.

Each takes one image's float32 input and gives the first output. LiteRT and ExecuTorch need large
packages of their own, which are imported only when asked for.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facesync.errors import ModelError
from facesync.export.plain import plain
from facesync.export.quantize import quantized
from facesync.faces.onnx_runtime import Embedder, open_embedder

if TYPE_CHECKING:
    import torch


Inputs = Sequence[np.ndarray]


@dataclass(frozen=True)
class Format:
    """A model format.

    Attributes:
        name: as in `--format`.
        ending: added to the model's name.
        write: writes an ONNX network for inputs of a shape to a path, given some to calibrate on.
        open: opens a file as a function from one input to its output.
        exact: whether it computes in full precision, so that its output is the original's.
    """

    name: str
    ending: str
    write: Callable[[bytes, tuple[int, ...], Path, Inputs], None]
    open: Callable[[Path], Embedder]
    exact: bool = True


def _write_onnx(network: bytes, shape: tuple[int, ...], path: Path, calibration: Inputs) -> None:
    path.write_bytes(network)


def _write_int8(network: bytes, shape: tuple[int, ...], path: Path, calibration: Inputs) -> None:
    path.write_bytes(quantized(plain(network), calibration))


def _open_onnx(path: Path) -> Embedder:
    return open_embedder(path, threads=1)


def _write_litert(network: bytes, shape: tuple[int, ...], path: Path, calibration: Inputs) -> None:
    try:
        import litert_torch
    except ImportError as error:
        raise _missing("litert", "litert-torch==0.10.0", error) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litert_torch.convert(*_in_torch(network, shape)).export(str(path))


def _open_litert(path: Path) -> Embedder:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(batch: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], batch)
        interpreter.invoke()
        output: np.ndarray = interpreter.get_tensor(returned["index"])
        return output

    return run


def _write_executorch(
    network: bytes, shape: tuple[int, ...], path: Path, calibration: Inputs
) -> None:
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ImportError as error:
        raise _missing("executorch", "executorch==1.2.0", error) from error
    import torch

    # It looks for its schema compiler on the PATH, where it is only in an activated environment.
    compiler = resources.files("executorch") / "data" / "bin" / "flatc"
    os.environ.setdefault("FLATC_EXECUTABLE", str(compiler))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(*_in_torch(network, shape))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)


def _open_executorch(path: Path) -> Embedder:
    import torch
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    forward = program.load_method("forward")

    def run(batch: np.ndarray) -> np.ndarray:
        assert program  # keeps it alive: without it the method would run in freed memory
        output: np.ndarray = forward.execute([torch.from_numpy(batch)])[0].numpy()
        return output

    return run


def _in_torch(
    network: bytes, shape: tuple[int, ...]
) -> tuple[torch.nn.Module, tuple[torch.Tensor]]:
    """Return a network as a module, and an example of its inputs."""
    import torch

    from facesync.export.onnx_in_torch import OnnxNetwork

    return OnnxNetwork(plain(network, shape)).eval(), (torch.zeros(shape),)


def _missing(name: str, requirement: str, error: ImportError) -> ModelError:
    return ModelError(
        f"--format {name} needs a package that is not installed ({error}); in a separate "
        f"environment, run: pip install {requirement}"
    )


FORMATS = {
    made.name: made
    for made in (
        Format("onnx", ".onnx", _write_onnx, _open_onnx),
        Format("onnx-int8", "-int8.onnx", _write_int8, _open_onnx, exact=False),
        Format("litert", "-litert.tflite", _write_litert, _open_litert),
        Format("executorch", "-executorch.pte", _write_executorch, _open_executorch),
    )
}
