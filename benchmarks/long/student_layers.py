"""Which layers of VGGFace2's network a student needs: how well a linear map from them does.

    nice python -m benchmarks.long.student_layers --cache models/student/cache
    nice python -m benchmarks.long.student_layers --cache models/student/cache --every 4

For each choice of layers, their pooled features of the faces in a distillation's cache are mapped
to the teacher's embeddings (ridge regression, as `distill_model.py` starts a student), and the map
is measured on LFW's last fold: enrolled people refused (FNIR) at 1 % and 0.1 % of strangers let in.
Nothing else is trained, so that a choice takes minutes and not hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.held_out import last_fold_images
from benchmarks.material import shared_data_or_exit
from facesync import cli, options
from facesync.devices import short_format
from facesync.distillation.student import CROP, linear_map
from facesync.errors import DataError
from facesync.faces.detection import FaceDetector, main_face
from facesync.faces.embedding import unit
from facesync.faces.weights import load_torch_model
from facesync.images import read_image_rgb
from facesync.metrics.open_set import open_set

CHOICES: Sequence[tuple[Sequence[int], Sequence[int], bool]] = [
    (range(10), range(5), True),
    (range(10), range(5), False),
    (range(10), (), True),
    (range(10), (), False),
    (range(5), range(5), True),
    (range(5, 10), range(5), True),
    (range(0, 10, 2), range(5), True),
    (range(5), (), True),
    (range(3), (), True),
]
"""The 17 x 17 blocks kept, the 8 x 8 blocks kept, and whether the last block is."""

STEM = (
    *("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a", "conv2d_3b", "conv2d_4a", "conv2d_4b"),
    *("repeat_1", "mixed_6a"),
)


def run(layers: Iterable[Any], maps: torch.Tensor, *, batch: int = 64) -> torch.Tensor:
    """Run layers over all maps, a batch at a time."""
    short = short_format(torch.device("cpu"))
    done = []
    for part in maps.split(batch):
        with torch.inference_mode(), torch.autocast("cpu", short, enabled=short is not None):
            part = part.contiguous(memory_format=torch.channels_last)
            for layer in layers:
                part = layer(part)
            done.append(part)
    return torch.cat(done)


def to_input(crops_rgb: np.ndarray) -> torch.Tensor:
    """Turn crops, uint8 (N, S, S, 3), into the network's input."""
    values = torch.from_numpy(crops_rgb).permute(0, 3, 1, 2).float()
    return (values - CROP.mean) / CROP.std


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--cache", type=Path, metavar="DIR", required=True,
                        help="of distill_model.py")  # fmt: skip
    parser.add_argument("--every", type=options.positive_int, default=1, metavar="N",
                        help="use every N-th face of it (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    data = shared_data_or_exit()
    blocks = sorted(args.cache.glob("*/*.faces.npy"))
    if not blocks:
        raise DataError(f"{args.cache} holds no faces: name the cache of distill_model.py")
    crops = np.concatenate([np.load(path)[:: args.every] for path in blocks])
    teacher = [Path(str(path).replace(".faces.", ".teacher.")) for path in blocks]
    targets = np.concatenate([np.load(path)[:: args.every] for path in teacher]).astype(np.float32)
    detector, probes, identities = FaceDetector(), [], []
    for path in last_fold_images(data):
        image_rgb = read_image_rgb(path)
        if faces := detector.detect(image_rgb):
            probes.append(CROP.cut(image_rgb, main_face(faces, image_rgb)))
            identities.append(path.parent.name)
    network: Any = load_torch_model("vggface2", offline=True).network.eval()
    stem = [getattr(network, name) for name in STEM]
    known, unknown = (run(stem, to_input(part)) for part in (crops, np.stack(probes)))
    print(f"{len(crops)} faces; FNIR on {len(probes)} images of LFW's last fold")
    for seventeen, eight, last in CHOICES:
        layers = [*(network.repeat_2[n] for n in seventeen), network.mixed_7a]
        layers += [*(network.repeat_3[n] for n in eight), *([network.block8] if last else [])]
        features = [run(layers, maps).float().mean((2, 3)).numpy() for maps in (known, unknown)]
        embeddings = unit(linear_map(features[0], targets)(features[1]))
        strict, stricter = open_set(embeddings, identities)
        print(
            f"17 x 17: {list(seventeen)}, 8 x 8: {list(eight)}, last block: "
            f"{'yes' if last else 'no'}: FNIR {strict.fnir:.1%} at FPIR 1 %, "
            f"{stricter.fnir:.1%} at 0.1 %",
            flush=True,
        )


if __name__ == "__main__":
    main()
