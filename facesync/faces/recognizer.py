"""Detector and embedding model, loaded when first needed, and asked what is in an image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from facesync.devices import device_name
from facesync.faces.detection import Face, FaceDetector, main_face
from facesync.faces.embedding import DEFAULT_THRESHOLD
from facesync.faces.lighting import relit
from facesync.faces.quality import Quality, measure
from facesync.faces.settings import RecognizerSettings
from facesync.faces.weights import expected, load_face_model

if TYPE_CHECKING:
    from facesync.faces.embedding import FaceModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """What was found in one image.

    Attributes:
        image_rgb: the image, uint8 (height, width, 3).
        faces: all faces; the first is the one that counts.
        embedding: of the first face, float32 (512,) of unit length; None without a face.
        quality: of the first face; None without a face.
    """

    image_rgb: np.ndarray
    faces: Sequence[Face]
    embedding: np.ndarray | None = None
    quality: Quality | None = None


class Recognizer:
    """Detector and embedding model as the settings ask for them.

    `load`, `look` and `fingerprint` load them, which takes seconds the first time, and raise
    ModelError or DownloadError where they cannot be had.
    """

    def __init__(self, settings: RecognizerSettings) -> None:
        self._settings = settings
        self._detector: FaceDetector | None = None
        self._model: FaceModel | None = None

    def load(self) -> None:
        """Load the models unless they are loaded.

        Raises:
            ModelError: the weights are missing, damaged or of another architecture.
            DownloadError: they had to be downloaded and could not be.
        """
        if self._model is not None:
            return
        log.info("Loading the models ...")
        device = device_name(self._settings.device)
        model = load_face_model(self._settings.model, device, offline=self._settings.offline)
        self._detector = FaceDetector(device)
        self._model = model

    @property
    def loaded(self) -> bool:
        """Whether the models are loaded."""
        return self._model is not None

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the embedding model and its crop."""
        self.load()
        assert self._model is not None
        return self._model.fingerprint

    @property
    def threshold(self) -> float:
        """Similarity that accepts a face which is compared with one person."""
        return self.threshold_for(1)

    def threshold_for(self, people: int) -> float:
        """Similarity that accepts a face which is compared with so many people.

        As asked for (`--threshold`); else what the loaded model's calibration says for the
        false-match rate asked for (`--fmr`), which rises with the number of people; else the one
        threshold that its checkpoint brings; else 0.6.
        """
        if self._settings.threshold is not None:
            return self._settings.threshold
        if self._model is None:
            return DEFAULT_THRESHOLD
        if self._model.calibration is not None:
            return self._model.calibration.threshold(self._settings.fmr, people)
        return DEFAULT_THRESHOLD if self._model.threshold is None else self._model.threshold

    @property
    def model_in_words(self) -> str:
        """Which model is in use, or will be."""
        if self._model is not None:
            return self._model.source
        return f"{expected(self._settings.model)} (loaded when first needed)"

    @property
    def threshold_in_words(self) -> str:
        """Which similarity is needed, and who says so."""
        if self._settings.threshold is not None:
            return f"{self.threshold:.3f} (--threshold)"
        if self._model is None:
            return f"the model's own, else {DEFAULT_THRESHOLD:.3f}"
        if self._model.calibration is not None:
            return f"{self.threshold:.3f} (calibrated, FMR {self._settings.fmr:g})"
        kind = "not calibrated" if self._model.threshold is None else "the model's own"
        return f"{self.threshold:.3f} ({kind})"

    def facts(self, people: int) -> dict[str, Any]:
        """Model, crop and threshold in force, as plain data; loads the models."""
        self.load()
        assert self._model is not None
        crop, calibration = self._model.crop, self._model.calibration
        return {
            "source": self._model.source,
            "fingerprint": self._model.fingerprint,
            "crop": f"{crop.kind}, {crop.crop_size} pixels",
            "threshold": self.threshold_for(people),
            "threshold_in_words": self.threshold_in_words,
            "calibration": None if calibration is None else calibration.data,
        }

    def look(self, image_rgb: np.ndarray, *, photograph: bool = False) -> Seen:
        """Find the faces in an image and embed the one that counts.

        Args:
            image_rgb: uint8, (height, width, 3).
            photograph: the face that counts is the one a photograph is about (`main_face`);
                before a camera it is the largest.
        """
        faces = self.find(image_rgb)
        if not faces:
            return Seen(image_rgb, [])
        if photograph and len(faces) > 1:
            main = main_face(faces, image_rgb)
            faces = [main, *(face for face in faces if face is not main)]
        embedding = self.embed(image_rgb, faces[:1])[0]
        return Seen(image_rgb, faces, embedding, measure(image_rgb, faces[0]))

    def find(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces in an image, uint8 RGB (height, width, 3), largest first."""
        self.load()
        assert self._detector is not None
        return self._detector.detect(relit(image_rgb))

    def follow(self, image_rgb: np.ndarray, faces: Sequence[Face]) -> list[Face]:
        """Find faces of the last frame again in this one; those lost are left out."""
        self.load()
        assert self._detector is not None
        found = self._detector.follow(relit(image_rgb), faces)
        return [face for face in found if face is not None]

    def embed(self, image_rgb: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Embed faces found in an image: float32 (faces, 512), each of unit length."""
        self.load()
        assert self._model is not None
        return self._model.embed(relit(image_rgb), faces)
