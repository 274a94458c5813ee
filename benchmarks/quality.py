"""The limits of a sample: how many good images the gate refuses, and how many degraded ones.

    nice python -m benchmarks.quality
    python -m benchmarks.quality --images 100

On images of the shared LFW set and frames of the shared live video: the share refused by the
limits for cameras and for photographs, as they are and increasingly blurred or darkened, next to
what the degradation does to the embedding (median cosine to the clean one). A good limit passes
the first rows and begins to refuse where the cosine falls.

Then the numbers behind the agreement of samples: how similar two samples of one person and of two
people are, and how similar copies of a frame look compared with frames a second apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.material import add_counts, parse_for_app
from facesync import cli
from facesync.app.cameras import VideoFile
from facesync.faces.detection import Face, main_face
from facesync.faces.lighting import relit
from facesync.faces.quality import CAMERA, PHOTOGRAPH, appearance, complaint, measure
from facesync.faces.recognizer import Recognizer
from facesync.gallery.enrolment import CAMERA_AGREEMENT, PHOTOGRAPH_AGREEMENT, SAME_IMAGE
from facesync.images import read_image_rgb

Degrade = Callable[[np.ndarray, Face], np.ndarray]

FRAME_STEP = 15  # half a second of the shared video


def blurred(share: float) -> Degrade:
    """Blur by a share of the face's width (the Gaussian's sigma)."""

    def degrade(image_rgb: np.ndarray, face: Face) -> np.ndarray:
        return cv2.GaussianBlur(image_rgb, (0, 0), share * (face.box_xyxy[2] - face.box_xyxy[0]))

    return degrade


def darkened(share: float) -> Degrade:
    """Leave a share of the light, and add the noise of a camera in the dark."""
    noise = np.random.default_rng(7)

    def degrade(image_rgb: np.ndarray, face: Face) -> np.ndarray:
        dark = image_rgb * share + noise.normal(0, 4, image_rgb.shape)
        return np.clip(dark, 0, 255).astype(np.uint8)

    return degrade


DEGRADED: dict[str, Degrade | None] = {
    "as it is": None,
    "blurred by 2 % of the face": blurred(0.02),
    "blurred by 4 %": blurred(0.04),
    "blurred by 8 %": blurred(0.08),
    "half the light": darkened(0.5),
    "a quarter of the light": darkened(0.25),
    "a tenth of the light": darkened(0.1),
}

Found = list[tuple[np.ndarray, Face]]


def faces_of_lfw(recognizer: Recognizer, lfw: Path, count: int) -> tuple[Found, list[str]]:
    """Return the main faces of the first images of people with several, and their names."""
    paths = [p for f in sorted(lfw.iterdir()) for p in sorted(f.glob("*.jpg"))[:3]
             if f.is_dir() and len(list(f.glob("*.jpg"))) >= 2][:count]  # fmt: skip
    found, names = [], []
    for path in paths:
        image_rgb = read_image_rgb(path)
        faces = recognizer.find(relit(image_rgb))
        if faces:
            found.append((image_rgb, main_face(faces, image_rgb)))
            names.append(path.parent.name)
    print(f"LFW: a face was found in {len(found)} of {len(paths)} images")
    return found, names


def faces_of_video(recognizer: Recognizer, path: Path) -> Found:
    """Return the face of frames half a second apart."""
    found = []
    with VideoFile(path) as video:
        while (frame := video.read()) is not None:
            if frame.number % FRAME_STEP == 0 and (
                faces := recognizer.find(relit(frame.image_rgb))
            ):
                found.append((frame.image_rgb, faces[0]))
    return found


def gate(recognizer: Recognizer, name: str, found: Found) -> np.ndarray:
    """Print how many faces are refused, clean and degraded; return the clean embeddings."""
    print(f"\n{name + ', refused of ' + str(len(found)):44} camera  photograph  cosine  overall")
    clean = np.concatenate(
        [recognizer.embed(relit(image_rgb), [face]) for image_rgb, face in found]
    )
    for how, degrade in DEGRADED.items():
        refused, cosines, overall = np.zeros(2), [], []
        for (image_rgb, face), embedding in zip(found, clean, strict=True):
            degraded_rgb = image_rgb if degrade is None else degrade(image_rgb, face)
            quality = measure(degraded_rgb, face)
            overall.append(quality.overall)
            refused += [complaint(quality, limits) is not None for limits in (CAMERA, PHOTOGRAPH)]
            if degrade is not None and len(cosines) < 40:
                cosines.append(float(recognizer.embed(relit(degraded_rgb), [face])[0] @ embedding))
        shares = refused / len(found)
        cosine = f"{np.median(cosines):.3f}" if cosines else "  -  "
        print(
            f"  {how:42} {shares[0]:6.1%} {shares[1]:11.1%}  {cosine:>6} {np.median(overall):8.2f}"
        )
    return clean


def agreement(recognizer: Recognizer, lfw: np.ndarray, names: list[str], live: np.ndarray) -> None:
    """Print how many pairs of samples the agreement asked for would refuse."""
    similarities = lfw @ lfw.T
    same = np.equal.outer(names, names)
    upper = np.triu(np.ones_like(same), 1)
    one, two = similarities[same & upper], similarities[~same & upper]
    session = (live @ live.T)[np.triu_indices(len(live), 1)]
    print(
        f"\npairs of samples below the agreement asked for (threshold {recognizer.threshold:.3f})"
    )
    for share in (PHOTOGRAPH_AGREEMENT, CAMERA_AGREEMENT):
        least = share * recognizer.threshold
        print(
            f"  {share} x threshold = {least:.3f}: one person in photographs "
            f"{(one < least).mean():6.2%}, in one session {(session < least).mean():6.2%}, "
            f"two people {(two < least).mean():6.2%}"
        )


def copies(found: Found) -> None:
    """Print how similar copies of frames look, and frames half a second and a second apart."""
    looks = np.stack([appearance(image_rgb, face) for image_rgb, face in found])
    again = []
    for (image_rgb, face), look in zip(found, looks, strict=True):
        encoded = cv2.imencode(".jpg", image_rgb, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
        copy = darkened(0.8)(read_image_rgb(encoded.tobytes())[..., ::-1], face)
        again.append(float(look @ appearance(copy, face)))
    print(f"\nappearance over {SAME_IMAGE} counts as a copy")
    for what, products in (
        ("copies, compressed, darker, noisy", again),
        ("half a second apart", np.diag(looks @ looks.T, 1)),
        ("a second apart", np.diag(looks @ looks.T, 2)),
    ):
        share = float((np.asarray(products) > SAME_IMAGE).mean())
        print(f"  {what:36} least {min(products):.3f}, taken for a copy {share:6.1%}")


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, images=300)
    args, data, settings = parse_for_app(parser)
    recognizer = Recognizer(settings)
    found, names = faces_of_lfw(recognizer, data / "lfw", args.images)
    lfw = gate(recognizer, "LFW", found)
    frames = faces_of_video(recognizer, data / "videos" / "one_face_head_turns_live.mp4")
    live = gate(recognizer, "frames of the live video", frames)
    agreement(recognizer, lfw, names, live)
    copies(frames)


if __name__ == "__main__":
    main()
