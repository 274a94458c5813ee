"""Every error a user can cause: one line that says what happened and what to do.

    FaceSyncError
    ├── FileError       a file cannot be read or written
    ├── ImageError      an image cannot be used
    ├── DataError       a pack, a folder of images or a dataset cannot be used
    ├── DownloadError   a download was refused or interrupted
    ├── ModelError      weights or a checkpoint cannot be used
    ├── StoreError      the store of registered people cannot be used
    ├── CameraError     a camera, video or stream gives no frames
    └── UsageError      options are missing, or conflict

`facesync.cli.guarded` prints that line on standard error and returns exit code 1; for a
`UsageError` exit code 2.
"""


class FaceSyncError(Exception):
    """Base of all errors that are shown to the user as one line."""


class FileError(FaceSyncError):
    """A file cannot be read or written."""


class ImageError(FaceSyncError):
    """An image cannot be used."""


class DataError(FaceSyncError):
    """A pack, a folder of images or a dataset cannot be used."""


class DownloadError(FaceSyncError):
    """A download was refused or interrupted."""


class ModelError(FaceSyncError):
    """Weights or a checkpoint cannot be used."""


class StoreError(FaceSyncError):
    """The store of registered people cannot be used."""


class CameraError(FaceSyncError):
    """A camera, video or stream gives no frames."""


class UsageError(FaceSyncError):
    """Options are missing, or conflict."""


TRAINING_PACKAGES = ("torch", "torchvision", "facenet_pytorch", "onnx", "scipy", "matplotlib",
                     "requests", "kaggle", "six")  # fmt: skip
"""What the app does without, and an installation of it alone lacks; as they are imported."""

WEB_PACKAGES = ("starlette", "uvicorn", "websockets", "python_multipart")
"""What the page in the browser needs besides; as they are imported."""


def not_installed(package: str) -> str:
    """Return, for the user, what to do where one of the packages above is missing."""
    name = package.replace("_", "-")
    if package in WEB_PACKAGES:
        return (
            f"the page needs {name}; in FaceSync's folder, run: pip install -r requirements-app.txt"
        )
    return (
        f"this needs {name}, which an installation of the app alone does not have; "
        "in FaceSync's folder, run: pip install -r requirements.txt"
    )
