"""Every error a user can cause: one line that says what happened and what to do.

    FaceSyncError
    ├── FileError       a file that cannot be read or written
    ├── ImageError    an image that cannot be used
    ├── DataError       a pack, a folder of images or a dataset that cannot be used
    ├── DownloadError   a transfer that was refused or broke
    ├── ModelError      weights or a checkpoint that cannot be used
    ├── StoreError      the store of registered faces cannot be used
    ├── CameraError     a camera, video or stream that gives no frames
    └── UsageError      options that do not go together

`facesync.cli.guarded` turns each of them into that line on standard error and exit code 1; a
`UsageError` into exit code 2.
"""


class FaceSyncError(Exception):
    """Base of all errors that are shown to the user as one line."""


class FileError(FaceSyncError):
    """A file that cannot be read or written."""


class ImageError(FaceSyncError):
    """An image that cannot be used."""


class DataError(FaceSyncError):
    """A pack, a folder of images or a dataset that cannot be used."""


class DownloadError(FaceSyncError):
    """A transfer that was refused or broke."""


class ModelError(FaceSyncError):
    """Weights or a checkpoint that cannot be used."""


class StoreError(FaceSyncError):
    """The store of registered faces cannot be used."""


class CameraError(FaceSyncError):
    """A camera, video or stream that gives no frames."""


class UsageError(FaceSyncError):
    """Options that do not go together, or that are missing."""
