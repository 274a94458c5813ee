"""What a last layer learnt from a better model gains the VGGFace2 weights, on people held out.

    nice python -m benchmarks.long.head --cache models/head/cache

Learns the layer in several ways from the features that `distill_model.py --student vggface2-head`
has cached, and measures each on the people that `benchmarks.held_out` holds out: LFW's last fold
and every fourth person of CFP, frontal. Columns: enrolled people refused (FNIR) in percent where
1 % and 0.1 % of strangers are let in, and genuine pairs accepted (TAR) at a false accept rate of
1e-5 among all pairs (CFP, where there are too few: 1e-4); for LFW also the accuracy on the fold's
pairs. Embedding the held-out people takes minutes, and is cached beside the features.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.held_out import accuracy, held_out_cfp, last_fold_images, last_fold_pairs
from benchmarks.material import shared_data_or_exit
from facesync import cli
from facesync.distillation.head import Linear, joined, mapped, own_layer, view_of
from facesync.errors import DataError
from facesync.faces.detection import FaceDetector, main_face
from facesync.faces.embedding import unit
from facesync.faces.torch_model import TorchModel
from facesync.faces.weights import load_torch_model
from facesync.images import read_image_rgb
from facesync.metrics.open_set import open_set
from facesync.metrics.pairs import all_pairs

Embed = Callable[[np.ndarray], np.ndarray]


class HeldOut:
    """Pooled features of the images of people held out.

    Attributes:
        paths: the images in which a face was found.
        features: float32 (images, 1792).
    """

    def __init__(self, paths: list[Path], model: TorchModel, kept: Path) -> None:
        if not kept.exists():
            detector, view = FaceDetector(), view_of(model, torch.device("cpu"))
            crops, found = [], []
            for path in paths:
                image_rgb = read_image_rgb(path)
                if faces := detector.detect(image_rgb):
                    crops.append(model.crop.cut(image_rgb, main_face(faces, image_rgb)))
                    found.append(str(path))
            np.savez(kept, paths=found, features=view.encode(crops))
        with np.load(kept, allow_pickle=False) as held:
            self.paths = [Path(path) for path in held["paths"]]
            self.features = held["features"].astype(np.float32)

    def row(self, embed: Embed, far: float) -> tuple[np.ndarray, str]:
        """Return the embeddings, and the figures on them as text."""
        embeddings = unit(embed(self.features))
        people = [path.parent.name for path in self.paths]
        rates = open_set(embeddings, people)
        tar = all_pairs(embeddings, people).roc().tar_at(far)
        return embeddings, "".join(f"{100 * rate.fnir:6.1f}" for rate in rates) + f"{tar:7.3f}"


def ways(features: np.ndarray, targets: np.ndarray, own: Linear) -> Iterator[tuple[str, Embed]]:
    """Yield name and embedding of each way to learn the layer."""
    yield "own, as published", own
    middle = unit(own(features)).mean(axis=0)
    yield "own, mean of others subtracted", lambda rows: unit(own(rows)) - middle
    for penalty in (30.0, 300.0, 3000.0):
        yield f"map alone, penalty {penalty:.0f}", mapped(features, targets, penalty)
    alone = mapped(features, targets).centred(features)
    yield (
        "both of unit length, 1024 numbers",
        lambda rows: np.hstack([unit(unit(own(rows)) - middle), unit(alone(rows))]),
    )
    for share in (0.35, 0.5, 0.7, 1.0, 1.4):
        layer = joined(features, targets, own, share)
        yield f"one layer, own {share} : 1", Linear(layer[:, :-1].T, layer[:, -1])
    layer = joined(features, targets, own).astype(np.float16).astype(np.float32)
    yield "one layer, as it is written", Linear(layer[:, :-1].T, layer[:, -1])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = cli.parser(__doc__)
    parser.add_argument("--cache", type=Path, metavar="DIR", required=True,
                        help="of distill_model.py --student vggface2-head")  # fmt: skip
    args = parser.parse_args(argv)
    data = shared_data_or_exit()
    blocks = sorted(args.cache.glob("*/*.faces.npy"))
    if not blocks:
        raise DataError(f"{args.cache} holds no features: name the cache of distill_model.py")
    features = np.concatenate([np.load(path) for path in blocks]).astype(np.float32)
    teacher = [Path(str(path).replace(".faces.", ".teacher.")) for path in blocks]
    targets = np.concatenate([np.load(path) for path in teacher]).astype(np.float32)
    model = load_torch_model("vggface2", offline=True)
    lfw = HeldOut(last_fold_images(data), model, args.cache / "held_out_lfw.npz")
    frontal = [path for path in held_out_cfp(data) if "frontal" in path.name]
    cfp = HeldOut(frontal, model, args.cache / "held_out_cfp.npz")
    pairs = last_fold_pairs(data)
    places = {f"{path.parent.name}/{path.stem}": i for i, path in enumerate(lfw.paths)}
    order = [places[image.name] for image in pairs.images]
    print(f"{len(features)} faces learnt from; LFW: {len(lfw.paths)} images, CFP: {len(cfp.paths)}")
    print(f"{'':34}LFW 1%  0.1%    TAR   pairs | CFP 1%  0.1%    TAR")
    for name, embed in ways(features, targets, own_layer(model.network)):
        embeddings, on_lfw = lfw.row(embed, 1e-5)
        right = accuracy(pairs.scores(embeddings[order]), pairs.same)
        _, on_cfp = cfp.row(embed, 1e-4)
        print(f"{name:34}{on_lfw}  {right:.4f} |{on_cfp}", flush=True)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
