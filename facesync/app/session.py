"""What the commands and the menu share: settings, gallery, models and camera."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from facesync.app.cameras import Camera, open_camera
from facesync.app.candidates import candidates
from facesync.app.console import announce
from facesync.app.liveness import LivenessCheck
from facesync.app.near_misses import NearMisses
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification
from facesync.app.watcher import Watcher
from facesync.cli import masked
from facesync.errors import StoreError
from facesync.faces.recognizer import Recognizer
from facesync.gallery.matching import comparable
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person
from facesync.gallery.reembedding import renewed
from facesync.gallery.store import Gallery
from facesync.images import is_image
from facesync.liveness import camera as cameras_known
from facesync.liveness.evidence import Evidence
from facesync.liveness.passive import PassiveModel, load_passive
from facesync.liveness.policy import Policy

log = logging.getLogger(__name__)

RECORDINGS = "recordings"
"""What the camera of all video files is called: which camera made one, nobody knows."""


class Session:
    """One run of the app."""

    def __init__(self, settings: AppSettings) -> None:
        self.settings = settings
        self.gallery: Gallery = self.gallery_in_files()
        if settings.gallery is not None:
            from facesync.gallery.server.gallery import ServerGallery

            self.gallery = ServerGallery(
                settings.gallery,
                settings.embeddings,
                insecure=settings.gallery_insecure,
                offline=settings.offline,
                audit_log=settings.audit_log,
            )
        self.recognizer = Recognizer(settings)
        self.near_misses = NearMisses()

    def gallery_in_files(self) -> FileGallery:
        """Open the gallery in files, which `store push` and `store pull` need beside the server."""
        settings = self.settings
        return FileGallery(
            settings.embeddings,
            settings.faces,
            encrypt=settings.encrypt,
            audit_log=settings.audit_log,
        )

    def use(self, settings: AppSettings) -> None:
        """Go on with other settings of models and liveness; models are loaded anew if needed."""
        self.settings = settings
        self.recognizer = Recognizer(settings)

    def in_browser(self, label: str) -> Session:
        """Return this session for a camera that a browser reads, which is live.

        It shares gallery, models and memory. `label` is what the browser calls the camera; scores
        are learnt under its hash, because it may name somebody ("Ada's phone").
        """
        if self._asks_for_liveness:
            _ = self.passive  # loaded once for both
        other = copy.copy(self)
        place = hashlib.sha256(label.encode("utf-8", "replace")).hexdigest()[:32]
        other.settings = replace(self.settings, camera=f"browser://{place}")
        return other

    def open_camera(self) -> Camera:
        """Open the camera that the settings name."""
        return open_camera(self.settings.camera, offline=self.settings.offline)

    def open_slideshow(self) -> Camera:
        """Open the camera for a window: images that stand in for one are shown in turn."""
        return open_camera(self.settings.camera, slideshow=True, offline=self.settings.offline)

    @property
    def recorded(self) -> bool:
        """Whether files stand in for the camera: nobody is there who could turn when asked."""
        return not _is_device(self.settings.camera)

    def has_images(self) -> bool:
        """Whether images stand in for the camera."""
        if not self.recorded:
            return False
        with self.open_camera() as camera:
            return camera.stills

    def verification(self, claimed: str | None = None) -> Verification:
        """Prepare to verify; see `Verification`."""
        common = self.gallery, self.recognizer, self.settings
        verification = Verification(
            *common,
            claimed=claimed,
            near_misses=self.near_misses,
            liveness=self._liveness_check if self._asks_for_liveness else None,
        )
        verification.recorded = self.recorded
        verification.stills = self._has_stills()
        return verification

    def policy(self) -> Policy | None:
        """Make the policy of the mode and the camera in force; None if liveness is off.

        Raises:
            ModelError: the liveness model cannot be loaded.
        """
        if not self._asks_for_liveness:
            return None
        return Policy(self.settings.liveness, self.passive, self._known_camera())

    def evidence(self) -> Evidence | None:
        """Begin to gather evidence for `policy`; None if liveness is off. Loads the models."""
        if not self._asks_for_liveness:
            return None
        self.recognizer.load()
        return Evidence(self.passive, self.recognizer.threshold, self._offset())

    def learn_camera(self, evidence: Evidence) -> None:
        """Remember what the camera in force does to the score of somebody who has just enrolled.

        Nothing is learnt from too few looks.

        Raises:
            FileError: it cannot be written.
        """
        if evidence.raw_score is not None:
            store, score = self.gallery.beside, evidence.raw_score
            cameras_known.learn(store, self._camera_name, self.passive, score)

    @cached_property
    def passive(self) -> PassiveModel:
        """The liveness model, loaded when it is first needed."""
        return load_passive()

    @property
    def _asks_for_liveness(self) -> bool:
        return self.settings.liveness != "off"

    def _has_stills(self) -> bool:
        """Whether images stand in for the camera, one by one or in turn; opens nothing else."""
        source = self.settings.camera
        return self.recorded and (Path(source).is_dir() or is_image(source))

    @property
    def _camera_name(self) -> str:
        if self.recorded:
            return RECORDINGS
        return masked(self.settings.camera)  # an address may hold a password

    def _known_camera(self) -> cameras_known.CameraLiveness | None:
        return cameras_known.known(self.gallery.beside, self._camera_name, self.passive)

    def _offset(self) -> float:
        known = self._known_camera()
        return 0.0 if known is None else known.offset

    def _liveness_check(self) -> LivenessCheck:
        policy, evidence = self.policy(), self.evidence()
        assert policy is not None and evidence is not None
        return LivenessCheck(policy, evidence)

    def watcher(self) -> Watcher:
        """Prepare to watch everybody who is registered, and who is later; loads the models."""
        changed = self._changes()
        if self.gallery.people():
            people = candidates(self.gallery, self.recognizer)
        else:
            announce(self.gallery, self.recognizer)
            log.warning("Nobody is registered yet: everybody will be unknown")
            people = []
        common = self.recognizer, people, self.settings.margin
        if not self._asks_for_liveness or self._has_stills():
            return Watcher(*common, changed=changed)
        return Watcher(*common, self.passive, self._offset(), changed)

    def _changes(self) -> Callable[[], Sequence[Person] | None]:
        """Return what says whom to compare with after each change of the gallery, else None."""
        known = self.gallery.version()

        def changed() -> Sequence[Person] | None:
            nonlocal known
            version = self.gallery.version()
            if version == known:
                return None
            known = version
            try:
                everyone = renewed(self.gallery, self.recognizer)
            except StoreError as error:
                log.warning("%s; watching goes on with who was known before", error)
                return None
            return comparable(everyone, self.recognizer.fingerprint)

        return changed


def _is_device(source: str) -> bool:
    """Whether a source is a camera or a stream, rather than files."""
    number_or_address = source.isdecimal() or "://" in source
    return number_or_address or (source.startswith("/dev/") and not Path(source).is_file())
