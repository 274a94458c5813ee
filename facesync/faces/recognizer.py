"""Detector and embedding model, loaded when first needed, and what they see in an image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facesync.cli import certainty, decimals
from facesync.devices import device_name
from facesync.errors import ModelError
from facesync.faces.detection import Face, FaceDetector, main_face
from facesync.faces.embedding import DEFAULT_THRESHOLD, FaceModel, checked
from facesync.faces.lighting import relit
from facesync.faces.models import AUTO, KnownModel
from facesync.faces.quality import Quality, measure
from facesync.faces.settings import RecognizerSettings
from facesync.faces.weights import expected, load_face_model

log = logging.getLogger(__name__)

NEARLY_FMRS, NEARLY = 10, 0.05
"""A refusal is near if so many times the false match rate asked for would have accepted; with a
threshold that follows from no rate, if so much more similarity would have."""


@dataclass(frozen=True)
class Seen:
    """What was found in an image that shows a face.

    Attributes:
        image_rgb: the image, uint8 (height, width, 3).
        faces: all faces, at least one; the first is the main one.
        embedding: of the main face, float32 (512,) of unit length.
        quality: of the main face.
    """

    image_rgb: np.ndarray
    faces: Sequence[Face]
    embedding: np.ndarray
    quality: Quality


@dataclass(frozen=True)
class Comparison:
    """How similar two faces are.

    Attributes:
        similarity: cosine of the two embeddings, -1 to 1.
        threshold: the similarity from which on the model takes two faces for one person.
        probability: that they show one person, if both answers were equally likely beforehand;
            None where the model carries no calibration.
        same_person: whether `similarity` reaches `threshold`.
        calibrated_on: on whom the probability was measured, in words; None without one.
    """

    similarity: float
    threshold: float
    probability: float | None
    same_person: bool
    calibrated_on: str | None = None

    def __str__(self) -> str:
        verdict = "the same person" if self.same_person else "different people"
        sure = ""
        if self.probability is not None:
            likely = certainty(self.probability, accepted=self.same_person)
            sure = f", {likely} as measured on {self.calibrated_on}"
        figures = f"similarity {decimals(self.similarity)}, threshold {decimals(self.threshold)}"
        return f"{verdict} ({figures}{sure})"


class Recognizer:
    """Detector and embedding model, as the settings ask for them.

    Every method and property that needs the models loads them, which takes seconds the first
    time, and raises ModelError or DownloadError if they cannot be had.
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
        if not model.trust.trusted:
            log.warning("%s is not trusted: %s", model.source, model.trust.why)
        self._detector = FaceDetector(device)
        self._model = model

    @property
    def loaded(self) -> bool:
        """Whether the models are loaded."""
        return self._model is not None

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the embedding model and its crop."""
        return self._loaded_model().fingerprint

    @property
    def threshold(self) -> float:
        """Similarity at which a face that is compared with one person is accepted."""
        return self.threshold_for(1)

    def threshold_for(self, comparisons: int) -> float:
        """Similarity at which a face is accepted, given the number of comparisons.

        What was asked for (`--threshold`), else the loaded model's for the false match rate asked
        for (`--fmr`), see `FaceModel.threshold_for`; 0.6 if none is loaded. Loads nothing.
        """
        if self._settings.threshold is not None:
            return self._settings.threshold
        if self._model is None:
            return DEFAULT_THRESHOLD
        return self._model.threshold_for(self._settings.fmr, comparisons)

    def threshold_if_any(self, comparisons: int = 1) -> float | None:
        """Return `threshold_for`, or None where no similarity is high enough: for a refusal."""
        try:
            return self.threshold_for(comparisons)
        except ModelError:
            return None

    def nearly_from(self, comparisons: int) -> float:
        """Similarity from which a refusal is near, below `threshold_for(comparisons)`."""
        if self.calibrated_on is None or self._model is None or self._model.calibration is None:
            return self.threshold_for(comparisons) - NEARLY
        calibration = self._model.calibration
        fmr = self._settings.fmr or calibration.default_fmr(comparisons)
        return calibration.threshold(min(NEARLY_FMRS * fmr, 0.99), comparisons)

    def refused_share(self, enrolled: int) -> float | None:
        """Share of registered people who are refused with so many images of each, as measured.

        It is that at about the false match rate asked for (the default, of the worst group, is far
        lower among all); None if the threshold follows from no rate, or nobody has measured it.
        """
        if self.calibrated_on is None or self._model is None or self._model.known is None:
            return None
        fmr = self._settings.fmr or 0.001
        fpir = 0.001 if fmr < 10**-2.5 else 0.01  # the nearer of those measured
        return self._model.known.fnir(fpir, enrolled)

    @property
    def measured(self) -> KnownModel | None:
        """The known model in use, if it decides by the thresholds of its card; None otherwise."""
        if self.calibrated_on is None or self._model is None or self._model.known is None:
            return None
        calibration, card = self._model.calibration, self._model.known.card()
        same = calibration and calibration.to_dict() == card.get("calibration")
        return self._model.known if same else None

    @property
    def model_in_words(self) -> str:
        """Which model is in use, or will be."""
        if self._model is not None:
            doubt = "" if self._model.trust.trusted else f"not trusted: {self._model.trust.why}"
            return ", ".join(filter(None, (self._model.source, self._model.why, doubt)))
        return f"{expected(self._settings.model)} (loaded when first needed)"

    def threshold_in_words(self, people: int) -> str:
        """Return the threshold among this many people, and where it comes from."""
        try:
            needed = decimals(self.threshold_for(people))
        except ModelError as error:
            return str(error)
        if self._settings.threshold is not None:
            return f"{needed} (--threshold)"
        if self._model is None:
            return f"the model's own, else {decimals(DEFAULT_THRESHOLD)}"
        if self._model.calibration is not None:
            among = f" among {people:,} people" if people > 1 else ""
            calibration = self._model.calibration
            fmr = self._settings.fmr or calibration.default_fmr(people)
            rate = f"a false match rate of {fmr:g}{among}"
            within = calibration.is_measured(fmr, people)
            how = "measured on" if within else "extrapolated from what was measured on"
            return f"{needed} for {rate}, {how} {calibration.measured_on}"
        kind = "not calibrated" if self._model.threshold is None else "the model's own"
        return f"{needed} ({kind})"

    @property
    def calibrated_on(self) -> str | None:
        """On whom the threshold was measured; None if it is the user's own or not calibrated."""
        if self._model is None or self._model.calibration is None:
            return None
        return None if self._settings.threshold is not None else self._model.calibration.measured_on

    def probability(self, similarity: float) -> float | None:
        """Probability that two faces of this similarity show one person.

        See `Calibration.probability`; None if the model is not calibrated.
        """
        calibration = self._loaded_model().calibration
        return None if calibration is None else calibration.probability(similarity)

    def compare(self, one: np.ndarray, other: np.ndarray) -> Comparison:
        """Compare two embeddings, each (512,) of unit length.

        Raises:
            ModelError: the model gave something that is not an embedding.
        """
        checked(np.stack([one, other]))
        similarity = float(np.clip(one @ other, -1, 1))
        same = similarity >= self.threshold
        calibration = self._loaded_model().calibration
        on = None if calibration is None else calibration.measured_on
        probability = None if calibration is None else calibration.probability(similarity)
        return Comparison(similarity, self.threshold, probability, same, on)

    def trust(self) -> dict[str, Any]:
        """Which model decides, and whether it is trusted and why, as plain data; loads nothing.

        No model is trusted before it is loaded.
        """
        if self._model is None:
            asked = str(self._settings.model or AUTO)
            about = {"name": asked, "trusted": False, "why": "no model was loaded"}
        else:
            judged = self._model.trust
            why = "; ".join(filter(None, (judged.why, self._model.why)))
            about = {"name": self._model.source, "trusted": judged.trusted, "why": why}
        return {"trusted": about["trusted"], "model": about}

    def facts(self, people: int) -> dict[str, Any]:
        """Model, crop and threshold in force, as plain data."""
        model = self._loaded_model()
        return {
            "source": model.source,
            "why": model.why,
            "trusted": model.trust.trusted,
            "trust": model.trust.why,
            "fingerprint": model.fingerprint,
            "crop": f"{model.crop.kind}, {model.crop.crop_size} pixels",
            "threshold": self.threshold_for(people),
            "threshold_in_words": self.threshold_in_words(people),
            "calibration": None if model.calibration is None else model.calibration.measured_on,
        }

    def look(self, image_rgb: np.ndarray, *, photograph: bool = False) -> Seen | None:
        """Find the faces in an image and embed the main one; None if there is no face.

        Args:
            image_rgb: uint8, (height, width, 3).
            photograph: the main face is the one a photograph is about (`main_face`); before a
                camera it is the largest.
        """
        lit_rgb = relit(image_rgb)
        faces = self.find(lit_rgb)
        if not faces:
            return None
        if photograph and len(faces) > 1:
            main = main_face(faces, image_rgb)
            faces = [main, *(face for face in faces if face is not main)]
        embedding = self.embed(lit_rgb, faces[:1])[0]
        return Seen(image_rgb, faces, embedding, measure(image_rgb, faces[0]))

    def turn_to(self, seen: Seen, face: Face) -> Seen:
        """Return the same image with another of its faces as the main one."""
        faces = [face, *(other for other in seen.faces if other is not face)]
        embedding = self.embed(relit(seen.image_rgb), faces[:1])[0]
        return Seen(seen.image_rgb, faces, embedding, measure(seen.image_rgb, face))

    def find_and_embed(self, image_rgb: np.ndarray) -> tuple[list[Face], np.ndarray]:
        """Find all faces in an image, largest first, and embed them: float32 (faces, 512)."""
        lit_rgb = relit(image_rgb)
        faces = self.find(lit_rgb)
        return faces, self.embed(lit_rgb, faces)

    # The following take an image as `facesync.faces.lighting.relit` returns it, so that one that is
    # searched and embedded is relit once.

    def find(self, lit_rgb: np.ndarray) -> list[Face]:
        """Find all faces in an image, uint8 RGB (height, width, 3), largest first."""
        return self._loaded_detector().detect(lit_rgb)

    def follow(self, lit_rgb: np.ndarray, faces: Sequence[Face]) -> list[Face]:
        """Find the faces of the previous frame again in this one; lost ones are left out."""
        found = self._loaded_detector().follow(lit_rgb, faces)
        return [face for face in found if face is not None]

    def embed(self, lit_rgb: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Embed faces found in an image: float32 (faces, 512), each of unit length."""
        return self._loaded_model().embed(lit_rgb, faces)

    def _loaded_model(self) -> FaceModel:
        self.load()
        assert self._model is not None
        return self._model

    def _loaded_detector(self) -> FaceDetector:
        self.load()
        assert self._detector is not None
        return self._detector
