"""Open set: registered people and strangers at a gallery of a hundred, through the app's own path.

    nice python -m benchmarks.open_set
    python -m benchmarks.open_set --people 20 --strangers 50
    python -m benchmarks.open_set --held-out --model edgeface-xs --people 20 --strangers 100

From the shared LFW images, 100 people are registered with two images each by the app's own
`register --images`; 300 other images of them (up to three each) and 500 people who are not
registered, one image each, are then verified as `verify --main-face --image` does. It counts
false accepts (a stranger gets a name), wrong identities (somebody registered gets another's name)
and false rejects (somebody registered is denied), for:

- the app: the rule, threshold and margin in force (`Matcher`, `--fmr`, `--margin`), and the same
  with a threshold for more false matches;
- the plain rule: the average of the embeddings, the best cosine, 0.6, on the same embeddings;
- the ingredients, at the app's own threshold: without the margin, mean only, best sample only.

People are drawn with a fixed seed. With --held-out they are of the fold that no model of ours was
trained on, with one other image each. LFW's images of one person may be years apart, and some carry
the wrong name: --failures lists what fails.
"""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.held_out import last_fold_images
from benchmarks.material import add_counts, parse_for_app
from facesync import cli
from facesync.app import registering
from facesync.app.settings import AppSettings
from facesync.errors import FaceSyncError
from facesync.faces.recognizer import Recognizer
from facesync.gallery.matching import Matcher
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person
from facesync.gallery.registration import Registration
from facesync.images import read_image_rgb

LENIENT_FMR = 0.2

Rule = Callable[[np.ndarray], str | None]


def draw_people(lfw: list[Path], people: int, most: int, probes: int, strangers: int) -> tuple[
    dict[str, list[Path]], list[tuple[str, Path]], list[Path]
]:  # fmt: skip
    """Choose whom to register, with which two images; the probes, some of each; the strangers."""
    chance = random.Random(7)
    images: dict[str, list[Path]] = {}
    for path in sorted(lfw):
        images.setdefault(path.parent.name, []).append(path)
    names = [name for name, paths in images.items() if len(paths) >= 3]
    chance.shuffle(names)
    # Those with the most other images first, so that there are enough probes.
    chosen = sorted(names, key=lambda name: -min(len(images[name]), 5))[:people]
    registered = {name: images[name][:2] for name in chosen}
    rest = [(name, path) for name in chosen for path in images[name][2 : 2 + most]]
    unknown = [paths[0] for name, paths in images.items() if name not in registered]
    chance.shuffle(rest)
    chance.shuffle(unknown)
    return registered, rest[:probes], unknown[:strangers]


def enrol(recognizer: Recognizer, registered: dict[str, list[Path]], folder: Path) -> list[Person]:
    """Register everybody as the command does; print who is refused and why."""
    gallery = FileGallery(folder / "e.pkl", folder / "faces", encrypt=False)
    for name, paths in registered.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                registering.register_images(gallery, recognizer, Registration(name), paths)
        except FaceSyncError as error:
            print(f"  not registered: {name}: {error}")
    return gallery.people()


def by_scores(
    people: list[Person],
    scores: Callable[[np.ndarray], np.ndarray],
    threshold: float,
    margin: float,
) -> Rule:
    """Take the best of some scores, (people,), if it reaches the threshold and leads enough."""

    def decide(embedding: np.ndarray) -> str | None:
        values = scores(embedding)
        second, best = np.argsort(values)[-2:]
        sure = values[best] >= threshold and values[best] - values[second] >= margin
        return people[best].name if sure else None

    return decide


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, people=100, probes=300, strangers=500)
    parser.add_argument("--failures", action="store_true", help="name the images that fail")
    parser.add_argument("--held-out", action="store_true", help="only the last fold, see above")
    args, data, settings = parse_for_app(parser)
    recognizer, lenient = Recognizer(settings), Recognizer(replace(settings, fmr=LENIENT_FMR))
    images = last_fold_images(data) if args.held_out else list((data / "lfw").rglob("*.jpg"))
    registered, probes, strangers = draw_people(
        images, args.people, 1 if args.held_out else 3, args.probes, args.strangers
    )
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        people = enrol(recognizer, registered, Path(folder))
    print(f"{len(people)} of {len(registered)} people registered with two images each")

    lenient.load()
    looser = lenient.threshold_for(len(people))
    threshold, margin = recognizer.threshold_for(len(people)), AppSettings.margin
    matcher = Matcher(people)
    means = np.stack([person.embedding for person in people])

    def best_sample(embedding: np.ndarray) -> np.ndarray:
        return np.array([(person.sample_embeddings @ embedding).max() for person in people])

    def app_rule(threshold: float, margin: float) -> Rule:
        return lambda embedding: matcher.decide(embedding, threshold, margin).name

    app = f"the app ({threshold:.3f}, margin {margin})"
    rules: dict[str, Rule] = {
        app: app_rule(threshold, margin),
        f"the app, --fmr {LENIENT_FMR} ({looser:.3f})": app_rule(looser, margin),
        "the app's rule at cosine 0.6": app_rule(0.6, margin),
        "plain: average, cosine 0.6": by_scores(people, lambda e: means @ e, 0.6, 0.0),
        "the app without the margin": app_rule(threshold, 0.0),
        "mean only": by_scores(people, lambda e: means @ e, threshold, margin),
        "best sample only": by_scores(people, best_sample, threshold, margin),
    }
    counts = {rule: [0, 0, 0] for rule in rules}
    unseen = [0, 0]
    for name, path in [*probes, *((None, path) for path in strangers)]:
        seen = recognizer.look(read_image_rgb(path), photograph=True)
        embedding = seen and seen.embedding
        if embedding is None:
            unseen[name is None] += 1
        for rule, decide in rules.items():
            answer = None if embedding is None else decide(embedding)
            kind = 0 if name is None else 1 if answer is None else 2
            if answer != name:
                counts[rule][kind] += 1
                if args.failures and rule == app:
                    print(f"  {path.name}: {answer or 'denied'}")
    print(f"{len(probes)} genuine probes ({unseen[0]} without a face found), "
          f"{len(strangers)} strangers ({unseen[1]})")  # fmt: skip
    print(f"{'':36}{'false accepts':>15}{'false rejects':>15}{'wrong names':>13}")
    for rule, (accepts, rejects, wrong) in counts.items():
        print(
            f"{rule:36}{accepts:5d} {accepts / max(1, len(strangers)):8.2%} "
            f"{rejects:5d} {rejects / max(1, len(probes)):8.2%} {wrong:12d}"
        )


if __name__ == "__main__":
    main()
