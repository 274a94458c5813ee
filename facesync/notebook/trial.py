"""Try a model on one's own face, through the browser's camera; on sample photographs elsewhere.

In Colab the camera is the browser's and the images go to Colab's machine, which is Google's. They
are registered in a folder that is removed at the end.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import facesync
from facesync.api import Match
from facesync.errors import CameraError, FaceSyncError, ImageError
from facesync.images import read_image_rgb
from facesync.sample_images import HOPPER, photographs, vary

FRAMES = 5
SECONDS_TO_START = 120

# An expression: a function that asks for the camera, waits for the button, takes images and lets
# the camera go.
_TAKE = """(async ({text, frames, seconds}) => {
  const place = document.createElement('div');
  const line = document.createElement('p');
  const video = document.createElement('video');
  const take = document.createElement('button');
  const skip = document.createElement('button');
  line.textContent = text;
  take.textContent = 'Take images';
  skip.textContent = 'Skip';
  video.muted = video.playsInline = true;
  video.width = 480;
  place.append(line, take, skip, document.createElement('br'), video);
  (document.querySelector('#output-area') || document.body).append(place);
  const wait = ms => new Promise(resolve => setTimeout(resolve, ms));
  let stream = null, over = false;
  const asked = (async () => {
    const found = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}});
    if (over) { found.getTracks().forEach(track => track.stop()); return; }
    stream = found;
    video.srcObject = stream;
    await video.play();
    await new Promise(resolve => { take.onclick = resolve; });
    return 'take';
  })();
  const skipped = new Promise(resolve => { skip.onclick = () => resolve('skip'); });
  try {
    const answer = await Promise.race([asked, skipped, wait(1000 * seconds)]);
    if (answer !== 'take') return {error: answer ? 'you chose Skip' : 'nobody pressed Take images'};
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    const images = [];
    for (let taken = 0; taken < frames; taken++) {
      line.textContent = `Image ${taken + 1} of ${frames}: turn your head a little`;
      canvas.getContext('2d').drawImage(video, 0, 0);
      images.push(canvas.toDataURL('image/jpeg', 0.9));
      await wait(700);
    }
    return {images};
  } catch (error) {
    return {error: `${error.name}: ${error.message}`};
  } finally {
    over = true;
    if (stream) stream.getTracks().forEach(track => track.stop());
    place.remove();
  }
})"""


def expression(text: str, frames: int = FRAMES, seconds: float = SECONDS_TO_START) -> str:
    """Return the JavaScript that takes images; its value is `{images: […]}` or `{error: …}`."""
    return f"{_TAKE}({json.dumps({'text': text, 'frames': frames, 'seconds': seconds})})"


def take_images(text: str) -> list[np.ndarray]:
    """Take images with the browser's camera, in Colab: a list of image_rgb.

    Args:
        text: what the person is asked to do.

    Raises:
        CameraError: the browser gives none.
        ImageError: what it gives are no images.
    """
    try:
        from google.colab import output
    except ImportError as error:
        raise CameraError("the browser's camera can be used in Colab only") from error
    try:
        answer = output.eval_js(expression(text))
    except Exception as error:  # Colab's own, which only Colab has
        raise CameraError(f"the browser did not answer ({error})") from error
    if not isinstance(answer, dict) or not answer.get("images"):
        reason = answer.get("error") if isinstance(answer, dict) else answer
        raise CameraError(f"the camera gave no images ({reason})")
    return [_decoded(str(url)) for url in answer["images"]]


def _decoded(url: str) -> np.ndarray:
    try:
        data = base64.b64decode(url.partition(",")[2], validate=True)
    except ValueError as error:
        raise ImageError("the browser's answer holds no image") from error
    return read_image_rgb(data, "the camera's image")


def try_model(model: Path, *, camera: bool) -> None:
    """Register somebody with a model and recognise them again; say what came of it.

    Whatever goes wrong is a line: what follows in the notebook does not need it.

    Args:
        model: its file.
        camera: take the person before the browser's camera, else one of the sample photographs.
    """
    try:
        used = facesync.load_model(str(model), offline=True)
        print(f"Model: {used.source}")
        if camera:
            try:
                _try_own_face(used)
                return
            except CameraError as error:
                print(f"No trial with your own face: {error}. Sample photographs instead.")
        _try_samples(used)
    except FaceSyncError as error:
        print(f"This trial did not come to an end: {error}")


def _try_own_face(model: facesync.Model) -> None:
    first = take_images("Look into the camera and press Take images: you are registered as You.")
    again = take_images("Once more, as if you came back; or let somebody else look: who is it?")
    _register_and_look("You", first, {"The second time": again[-1]}, model)
    print(f"Alive or an image of you? {model.liveness([*first, *again]).reason}")


def _try_samples(model: facesync.Model) -> None:
    random = np.random.default_rng(7)
    people = photographs()
    copies = [vary(people[HOPPER], random) for _ in range(3)]
    shown = {f"A photograph of {name}": vary(photo, random) for name, photo in people.items()}
    _register_and_look(HOPPER, copies, shown, model)


def _register_and_look(
    name: str, images: Sequence[np.ndarray], shown: dict[str, np.ndarray], model: facesync.Model
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Not encrypted: a key would stay behind.
        gallery = facesync.open_gallery(Path(folder) / "people.pkl", model, encrypt=False)
        person = gallery.register(name, images)
        print(f"Registered {name} with {person.samples} of {len(images)} images.")
        for title, image_rgb in shown.items():
            matches = gallery.identify(image_rgb)
            print(f"{title}: {_in_words(matches[0]) if matches else 'no face found'}")
    print("What was registered here is removed again.")


def _in_words(match: Match) -> str:
    found = f"recognised as {match.name}" if match.name else f"not recognised ({match.reason})"
    if match.similarity is None:
        return found
    return f"{found}; similarity {match.similarity:.3f}, threshold {match.threshold:.3f}"
