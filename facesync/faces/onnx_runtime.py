"""Run exported networks in ONNX Runtime on a CPU, without torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from facesync.errors import ModelError
from facesync.faces.onnx_files import sha256

Embedder = Callable[[np.ndarray], np.ndarray]
"""From face crops, float32 (N, 3, S, S), to embeddings, float32 (N, 512) of unit length."""


FEW = 4
"""Faces that are embedded before packed weights are unpacked for good."""


def open_net(
    source: Path | bytes,
    threads: int | None = None,
    *,
    unpack: bool = False,
    arena: bool = False,
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Open an ONNX file with one input as a function from the input to the list of outputs.

    Args:
        source: the file, or what is in it; it can run nothing but ONNX operators. Bytes are kept
            for as long as the function, a file is not.
        threads: number of threads for one call; half the cores when None.
        unpack: its weights are stored as integers and computed with in float32: unpack them once,
            not at each call.
        arena: keep the memory of a call for the next: a seventh faster for large batches.

    Raises:
        ModelError: the file is missing, damaged, or not a model that ONNX Runtime can run; or, from
            the function, its network does not take the input.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Half the cores, and no spinning while waiting: on a machine that does anything else, threads
    # that wait for a busy core make each call several times slower.
    options.intra_op_num_threads = threads or max(1, (os.cpu_count() or 2) // 2)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = arena
    if unpack:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 4  # errors are raised; the log would only repeat them
    try:
        session = onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers=["CPUExecutionProvider"],
        )
        (model_input,) = session.get_inputs()
    except Exception as error:  # ONNX Runtime's exceptions have no other common base
        raise _cannot_run(source, error) from error

    def run(batch: np.ndarray) -> list[np.ndarray]:
        try:
            outputs: list[np.ndarray] = session.run(None, {model_input.name: batch})
        except Exception as error:  # as above: a network for other images, say
            raise _cannot_run(source, error) from error
        return outputs

    return run


def _cannot_run(source: Path | bytes, error: Exception) -> ModelError:
    model = "the model" if isinstance(source, bytes) else source
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelError(f"{model} cannot be run by ONNX Runtime: {reason}")


def open_embedder(
    source: Path | bytes, threads: int | None = None, *, unpack: bool = False
) -> Embedder:
    """Open an ONNX file that embeds faces; see `open_net`.

    To unpack weights takes a quarter of a second and nine times the file's size, which only pays
    off after some faces; the first `FEW` of a file go without.
    """
    if unpack and isinstance(source, Path):
        return _Packed(source, threads)
    run = open_net(source, threads, unpack=unpack, arena=True)
    return lambda batch: run(batch)[0]


class _Packed:
    """An embedder that unpacks its weights when it has become worth it."""

    def __init__(self, path: Path, threads: int | None) -> None:
        self._path, self._threads, self._few_left = path, threads, FEW
        self._sha256 = sha256(path)
        self._run = open_net(path, threads)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if self._few_left > 0:
            self._few_left -= len(batch)
            if self._few_left <= 0:
                self._unpack()
        return self._run(batch)[0]

    def _unpack(self) -> None:
        if sha256(self._path) != self._sha256:
            raise ModelError(f"{self._path} has changed since it was opened; start again")
        self._run = open_net(self._path, self._threads, unpack=True, arena=True)
