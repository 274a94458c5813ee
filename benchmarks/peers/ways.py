"""How each project finds and embeds a face, as its documentation says, and what that takes.

    python -m benchmarks.peers.ways NAME FRAME.npy    # in a process of its own; prints JSON

Only the project asked for is imported.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Way:
    """A project's way.

    Attributes:
        find: the main face of an image, uint8 RGB (h, w, 3); None if there is none.
        embed: its embedding from the image and the face, (n,).
        models: the files of its networks.
    """

    find: Callable[[np.ndarray], Any]
    embed: Callable[[np.ndarray, Any], np.ndarray]
    models: list[Path]

    def unit_embedding(self, image_rgb: np.ndarray) -> np.ndarray | None:
        """Find and embed the main face, at unit length."""
        face = self.find(image_rgb)
        if face is None:
            return None
        vector = self.embed(image_rgb, face)
        return vector / np.linalg.norm(vector)


def facesync(name: str) -> Way:
    """Take the app's way, with one of its models."""
    import cv2

    from facesync.faces.detection import FaceDetector, main_face
    from facesync.faces.models import KNOWN
    from facesync.faces.mtcnn_nets import net_path
    from facesync.faces.weights import load_face_model

    cv2.setNumThreads(1)
    detector, model = FaceDetector(), load_face_model(name, offline=True)

    def find(image_rgb: np.ndarray) -> Any:
        faces = detector.detect(image_rgb)
        return main_face(faces, image_rgb) if faces else None

    nets = [net_path(net) for net in ("pnet", "rnet", "onet")]
    return Way(find, lambda rgb, face: model.embed(rgb, [face])[0], [KNOWN[name].path, *nets])


def face_recognition() -> Way:
    """Take HOG and ResNet of dlib by the functions of face_recognition."""
    import face_recognition
    import face_recognition_models

    def find(image_rgb: np.ndarray) -> Any:
        boxes = face_recognition.face_locations(image_rgb)
        # Top, right, bottom, left.
        return max(boxes, key=lambda box: (box[2] - box[0]) * (box[1] - box[3]), default=None)

    models = Path(face_recognition_models.face_recognition_model_location()).parent.glob("*.dat")
    return Way(find, lambda rgb, box: face_recognition.face_encodings(rgb, [box])[0], [*models])


def facenet_pytorch() -> Way:
    """Take MTCNN and InceptionResnetV1 as they come; the weights are in the cache of torch."""
    import facenet_pytorch
    import torch

    torch.set_num_threads(1)
    mtcnn = facenet_pytorch.MTCNN()
    checkpoints = Path(facenet_pytorch.models.inception_resnet_v1.get_torch_home(), "checkpoints")
    weights = [*checkpoints.glob("*-vggface2.pt")]
    if not weights:
        raise ImportError("its VGGFace2 weights are not in torch's cache")
    network = facenet_pytorch.InceptionResnetV1(pretrained="vggface2").eval()

    def find(image_rgb: np.ndarray) -> Any:
        return mtcnn.detect(image_rgb)[0]

    def embed(image_rgb: np.ndarray, boxes: Any) -> np.ndarray:
        with torch.inference_mode():
            vector: np.ndarray = network(mtcnn.extract(image_rgb, boxes, None)[None]).numpy()[0]
        return vector

    package = Path(facenet_pytorch.__file__).parent
    return Way(find, embed, [*weights, *package.glob("data/?net.pt")])


WAYS: dict[str, Callable[[], Way]] = {
    "face_recognition": face_recognition,
    "facenet-pytorch": facenet_pytorch,
    **{
        f"FaceSync, {name}": partial(facesync, name)
        for name in ("vggface2", "embedded", "edgeface-xs")
    },
}


def packages_mb() -> float:
    """Return the size of the installed packages that were imported, without CUDA's libraries."""
    owners = packages_distributions()
    imported = {name.partition(".")[0] for name in sys.modules}
    names = {owner for name in imported for owner in owners.get(name, ())}
    files = (Path(file.locate()) for name in names for file in distribution(name).files or ())
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def main() -> None:
    name, frame = sys.argv[1:]
    assert WAYS[name]().unit_embedding(np.load(frame)) is not None
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    print(json.dumps({"peak_mb": peak and int(peak[1]) / 1024, "packages_mb": packages_mb()}))


if __name__ == "__main__":
    main()
