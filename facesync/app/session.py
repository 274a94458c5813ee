"""What the commands and the menu share: settings, gallery, models and camera."""

from __future__ import annotations

import logging

from facesync.app.cameras import Camera, open_camera
from facesync.app.console import announce
from facesync.app.near_misses import NearMisses
from facesync.app.settings import AppSettings
from facesync.app.verification import Verification, candidates
from facesync.app.watcher import Watcher
from facesync.faces.recognizer import Recognizer
from facesync.gallery.store import Gallery

log = logging.getLogger(__name__)


class Session:
    """One run of the app."""

    def __init__(self, settings: AppSettings) -> None:
        self.settings = settings
        self.gallery = Gallery(
            settings.embeddings,
            settings.faces,
            encrypt=settings.encrypt,
            audit_log=settings.audit_log,
        )
        self.recognizer = Recognizer(settings)
        self.near_misses = NearMisses()

    def open_camera(self) -> Camera:
        """Open the camera that the settings name."""
        return open_camera(self.settings.camera, offline=self.settings.offline)

    def open_slideshow(self) -> Camera:
        """Open the camera for a window: images that stand in for one are shown in turn."""
        return open_camera(self.settings.camera, slideshow=True, offline=self.settings.offline)

    def has_images(self) -> bool:
        """Whether images stand in for the camera."""
        source = self.settings.camera
        if source.isdecimal() or "://" in source:
            return False
        with self.open_camera() as camera:
            return camera.stills

    def verification(self, claimed: str | None = None) -> Verification:
        """Prepare to verify; see `Verification`."""
        common = self.gallery, self.recognizer, self.settings
        return Verification(*common, claimed=claimed, near_misses=self.near_misses)

    def watcher(self) -> Watcher:
        """Prepare to watch; loads the models."""
        if self.gallery.people():
            people = candidates(self.gallery, self.recognizer)
        else:
            announce(self.gallery, self.recognizer)
            log.warning("Nobody is registered yet: everybody will be unknown")
            people = []
        return Watcher(self.recognizer, people, self.settings.margin)
