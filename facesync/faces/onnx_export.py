"""Export torch networks to ONNX."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesync.errors import ModelError

if TYPE_CHECKING:
    import torch


def to_onnx(
    network: torch.nn.Module,
    input_shape: tuple[int, ...],
    outputs: Sequence[str] = ("embedding",),
    *,
    any_size: bool = False,
    fold: bool = True,
) -> bytes:
    """Export a network on the CPU, in evaluation mode; its input is named `input`.

    Args:
        network: takes float32 of `input_shape`, a batch of any size.
        input_shape: of one example, such as (2, 3, 160, 160).
        outputs: names of its outputs.
        any_size: height and width of input and outputs may vary too.
        fold: work out what depends on weights alone; otherwise each weight keeps its name.

    Raises:
        ModelError: torch could not export it.
    """
    import torch

    axes = {0: "batch", 2: "height", 3: "width"} if any_size else {0: "batch"}
    # The newer exporter takes ten times as long for the same result.
    takes_dynamo = "dynamo" in inspect.signature(torch.onnx.export).parameters
    older: dict[str, Any] = {"dynamo": False} if takes_dynamo else {}
    modes = torch.onnx.TrainingMode
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            path = Path(folder) / "model.onnx"
            warnings.simplefilter("ignore")  # about the newer exporter, and constant shapes
            torch.onnx.export(
                network.eval(),
                (torch.zeros(input_shape),),
                path,
                input_names=["input"],
                output_names=list(outputs),
                dynamic_axes={name: axes for name in ("input", *outputs)},
                opset_version=17,
                do_constant_folding=fold,
                # Folds batch norms, too, unless the network's own mode, which is the same, stays.
                training=modes.EVAL if fold else modes.PRESERVE,
                **older,
            )
            return path.read_bytes()
    except Exception as error:  # the exporter raises errors of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"torch could not export the model: {reason}") from error
