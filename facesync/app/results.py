"""Results as plain data: what `verify --json` and `compare --json` print, and the page is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facesync.app.looking import look_at_main_face
from facesync.app.verification import ImageDecision
from facesync.errors import ImageError
from facesync.faces.detection import Face
from facesync.faces.recognizer import Recognizer
from facesync.gallery.matching import Decision
from facesync.gallery.store import Gallery
from facesync.images import NamedImage


def of_outage(gallery: Gallery) -> dict[str, str]:
    """Return since when a gallery goes on with what it knew; nothing while all is well."""
    return {"outage": gallery.outage} if gallery.outage else {}


def of_images(results: Sequence[ImageDecision], recognizer: Recognizer) -> dict[str, Any]:
    """Return the decisions of one or several images.

    At the top is the decision of the image that decides: one that is not accepted, if there is
    one, else the best.
    """
    decisive = min(
        (result.decision for result in results),
        key=lambda decision: (decision.accepted, -(decision.similarity or -1.0)),
    )
    faces = [
        {"image": str(result.path), **of_face(face, decision)}
        for result in results
        for face, decision in result.faces
    ]
    data = {**of_decision(decisive, recognizer), "faces": faces}
    if len(results) > 1:
        data["images"] = [{"image": str(r.path), **asdict(r.decision)} for r in results]
    return data


def of_decision(decision: Decision, recognizer: Recognizer) -> dict[str, Any]:
    """Return a decision, and whether the model that made it is trusted."""
    return {**asdict(decision), **recognizer.trust()}


def of_face(face: Face, decision: Decision) -> dict[str, Any]:
    """Return where a face is, and the decision about it."""
    return {
        "box": [round(float(value)) for value in face.box_xyxy],
        "name": decision.name,
        "similarity": decision.similarity,
        "probability": decision.probability,
        "nearly": decision.nearly,
        "reason": decision.reason,
    }


def compare(
    recognizer: Recognizer, first: Path | NamedImage, second: Path | NamedImage
) -> dict[str, Any]:
    """Compare the main faces of two images.

    Raises:
        ImageError: one cannot be read, or shows no face.
    """
    embeddings = []
    for image in (first, second):
        seen = look_at_main_face(recognizer, image)
        if seen is None:
            raise ImageError(f"no face found in {image}")
        embeddings.append(seen.embedding)
    compared = recognizer.compare(*embeddings)
    return {**asdict(compared), "reason": str(compared), **recognizer.trust()}
