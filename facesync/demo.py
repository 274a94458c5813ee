"""FaceSync from end to end on two public-domain photographs, without camera, window or questions.

Run: make demo

A small RecordIO pack is made of Eileen Collins (NASA, from scikit-image) and Grace Hopper (US Navy,
from matplotlib); the scripts convert it, fine-tune a model on it, register one of the two and
verify both. It runs the commands a person would type and exits with 0 only if every step gave the
right answer.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from facesync import cli
from facesync.data.recordio import write_pack
from facesync.errors import DownloadError, FaceSyncError, FileError
from facesync.faces.crops import ALIGNED_112
from facesync.faces.detection import FaceDetector, main_face
from facesync.faces.embedding import DEFAULT_THRESHOLD
from facesync.faces.weights import vggface2_state
from facesync.images import save_jpeg
from facesync.sample_images import COLLINS, HOPPER, photographs, vary

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
KNOWN, STRANGER = COLLINS, HOPPER
TRAINING_COPIES = 30
REGISTERED_COPIES = 5
MARK = ".facesync-demo"

# One thread: on a busy machine, two of torch's threads take several times as long as one.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


class StepFailed(FaceSyncError):
    """A step of the demo gave a wrong answer."""


def make_pack(folder: Path, random: np.random.Generator, copies: int = 0) -> int:
    """Write a pack of aligned faces of both people; return the number of images.

    Args:
        folder: of the pack.
        random: varies the copies.
        copies: of each photograph; 0 for `TRAINING_COPIES`.

    Raises:
        FileError: there is a photograph of one of them only.
    """
    people = photographs()
    if len(people) < 2:
        raise FileError(
            f"the photograph of {KNOWN} is part of scikit-image: pip install scikit-image"
        )
    torch.set_num_threads(1)
    detector = FaceDetector()
    images = []
    for label, photo in enumerate(people.values()):
        for _ in range(copies or TRAINING_COPIES):
            copy = vary(photo, random)
            faces = detector.detect(copy)
            if faces:
                crop_bgr = ALIGNED_112.cut(copy, main_face(faces, copy))[:, :, ::-1]
                encoded = cv2.imencode(".jpg", crop_bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
                images.append((label, encoded.tobytes()))
    write_pack(folder, images)
    return len(images)


def run(script: str, *arguments: object, expect: int = 0) -> str:
    """Run a script, show what it prints, and return its standard output.

    Raises:
        StepFailed: its exit code is not `expect`.
    """
    words = [script, *map(str, arguments)]
    print(f"\n$ python {shlex.join(words)}", flush=True)
    lines = []
    with subprocess.Popen(
        [sys.executable, str(ROOT / script), *words[1:]],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, **ENVIRONMENT},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {line}", end="", flush=True)
            lines.append(line)
    if process.returncode != expect:
        raise StepFailed(f"{script} ended with exit code {process.returncode}, not {expect}")
    return "".join(lines)


def check(right: bool, says: str) -> None:
    """Print the result of a step.

    Raises:
        StepFailed: it is wrong.
    """
    if not right:
        raise StepFailed(f"wrong result: {says}")
    print(f"  -> {says}", flush=True)


def training_weights() -> str:
    """Return the weights to start from: `vggface2` if they are here or can be downloaded."""
    try:
        vggface2_state()
    except DownloadError as error:
        log.warning("%s", error)
        log.warning(
            "The demo trains from random weights instead, and registers and verifies with the "
            "embedded model."
        )
        return "none"
    return "vggface2"


def demo(output: Path) -> None:
    """Run every step; everything is written to a folder of its own.

    Raises:
        FaceSyncError: a step failed or gave a wrong answer.
    """
    started = time.monotonic()
    if output.exists() and any(output.iterdir()):
        if not (output / MARK).exists():
            raise FileError(f"{output} is not the demo's own folder; choose another with --output")
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / MARK).touch()
    random = np.random.default_rng(42)

    print(
        "1. Make a pack of two people from photographs that ship with matplotlib and scikit-image"
    )
    count = make_pack(output / "pack", random)
    check(count >= 2 * TRAINING_COPIES - 2, f"{count} images in {output / 'pack' / 'train.rec'}")

    print("\n2. Convert the pack to images")
    faces = output / "images"
    run("preprocessing_dataset.py", "--input", output / "pack", "--output", faces)
    report = json.loads((faces / "conversion_report.json").read_text())
    found = report["images"], report["identities"], report["bookkeeping"], len(report["corrupt"])
    check(found == (count, 2, 3, 0), "{} images, {} people, {} bookkeeping records, {} corrupt"
          .format(*found))  # fmt: skip

    print("\n3. Fine-tune a model on them")
    models = output / "models"
    weights = training_weights()
    run("train_model.py", "--data", faces, "--output", models, "--epochs", 2, "--batch-size", 12,
        "--lr", "3e-4", "--workers", 0, "--device", "cpu", "--weights", weights)  # fmt: skip
    model = models / "best_face_model.pth"
    plot = models / "training_history.png"
    check(model.exists() and plot.exists(), f"curves: {plot}")

    serving: tuple[object, ...] = ("embedded",)
    if weights == "vggface2":
        # A calibration on the two people it was trained on says nothing about a third.
        serving = (model, "--threshold", DEFAULT_THRESHOLD)
    # Not encrypted, so that no key is left in the user's keyring or configuration.
    app = ("--model", *serving, "--embeddings", models / "face_embeddings.pkl", "--faces",
           output / "faces", "--offline", "--no-encrypt")  # fmt: skip
    photos = photographs()
    shots = []
    for number in range(REGISTERED_COPIES):
        shots.append(output / "photos" / f"collins_{number + 1}.jpg")
        save_jpeg(vary(photos[KNOWN], random), shots[-1])
    again, other = output / "photos" / "collins_again.jpg", output / "photos" / "hopper.jpg"
    save_jpeg(vary(photos[KNOWN], random), again)
    save_jpeg(photos[STRANGER], other)

    print(f"\n4. Register {KNOWN}")
    run("faceid_app.py", *app, "register", KNOWN, "--images", *shots)

    print("\n5. Verify her from another image")
    answer = last_object(run("faceid_app.py", *app, "verify", "--image", again, "--json"))
    check(answer["accepted"] and answer["name"] == KNOWN, "recognised: " + summary(answer))

    print(f"\n6. Refuse {STRANGER}, who is not registered")
    answer = last_object(run("faceid_app.py", *app, "verify", "--image", other, "--json", expect=1))
    refused = not answer["accepted"] and answer["name"] is None and answer["similarity"] is not None
    check(refused, "refused: " + summary(answer))

    print(f"\nEvery step gave the right answer, in {time.monotonic() - started:.0f} seconds.")
    print(f"Learning curves: {plot}. Start the app with: make run")


def last_object(printed: str) -> dict:
    """Parse the JSON object on the last line that a command printed."""
    answer: dict = json.loads(printed.strip().splitlines()[-1])
    return answer


def summary(answer: dict) -> str:
    """Format the numbers of a decision."""
    return f"similarity {answer['similarity']:.3f}, threshold {answer['threshold']:.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo_output"),
        help="folder for everything the demo writes (default: %(default)s)",
    )
    demo(parser.parse_args(argv).output)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
