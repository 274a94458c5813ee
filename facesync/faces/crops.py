"""The one definition of a face crop, so that training and serving see the same image.

The crop is part of the model. A `CropSpec` says how a face is cut from an image and turned into the
model's input; it is saved in every checkpoint and used wherever the model is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from facesync.errors import ModelError

if TYPE_CHECKING:
    from facesync.faces.detection import Face

KINDS = ("square", "box", "five_points")
BORDERS = {"edge": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}

# Where eyes, nose and mouth corners are in InsightFace's 112 x 112 crops (ArcFace,
# arXiv:1801.07698), to which CASIA-WebFace's pack and most others are aligned.
TEMPLATE_112 = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float64,
)


@dataclass(frozen=True)
class CropSpec:
    """How a face is cut from an image and prepared for a model.

    Attributes:
        kind: `square` cuts a square around the detector's box, unrotated and unstretched; `box`
            cuts the box itself, widened, and stretches it to a square; `five_points` rotates
            and scales the face so that its landmarks match `TEMPLATE_112`.
        scale: side of the square as a multiple of the box's longer side (`square`), or sides of the
            crop as multiples of the box's (`box`).
        crop_size: side of the crop in pixels, as in the images trained on.
        input_size: side of the model's input in pixels.
        mean: subtracted from the 0…255 values, which are then divided by `std`.
        std: see `mean`.
        border: what `five_points` shows outside the image: its `edge` repeated, or `black`.
    """

    kind: str
    crop_size: int
    scale: float = 1.3
    input_size: int = 160
    mean: float = 127.5
    std: float = 128.0
    border: str = "edge"

    def cut(self, image_rgb: np.ndarray, face: Face) -> np.ndarray:
        """Cut a face from the image it was found in.

        Args:
            image_rgb: uint8, (height, width, 3).
            face: where the face is, in the image's pixels.

        Returns:
            crop_rgb, uint8, (crop_size, crop_size, 3). Outside the image: see `border`; `square`
            repeats the edge, `box` is clipped.
        """
        if self.kind == "square":
            return cut_square(image_rgb, face.box_xyxy, self.scale, self.crop_size)
        if self.kind == "box":
            return cut_box(image_rgb, face.box_xyxy, self.scale, self.crop_size)
        template = TEMPLATE_112 * (self.crop_size / 112)
        return cut_aligned(
            image_rgb, face.landmarks, template, self.crop_size, border=BORDERS[self.border]
        )

    def array(self, crop_rgb: np.ndarray) -> np.ndarray:
        """Turn a crop, uint8 RGB (height, width, 3), into the model's input, float32 (3, S, S)."""
        sized = resize(crop_rgb, self.input_size)
        chw = sized.transpose(2, 0, 1).astype(np.float32, order="C")
        return (chw - self.mean) / self.std

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain data for a checkpoint.

        Models had fingerprints, which hold this, before there was a `border`: its first kind is
        left out.
        """
        plain = asdict(self)
        if self.border == "edge":
            del plain["border"]
        return plain

    @staticmethod
    def from_dict(data: dict[str, Any]) -> CropSpec:
        """Read what `to_dict` wrote.

        Raises:
            ModelError: it is not a crop that this version knows.
        """
        numbers = ("crop_size", "scale", "input_size", "mean", "std")
        try:
            spec = CropSpec(**data)
            sound = all(float(getattr(spec, name)) < 10_000 for name in numbers)
            sizes = spec.crop_size, spec.input_size
            sound = sound and all(type(size) is int and 16 <= size <= 1024 for size in sizes)
            sound = sound and spec.kind in KINDS and spec.border in BORDERS
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"the model's crop cannot be read ({error})") from error
        if not sound or spec.scale <= 0 or spec.std <= 0:
            raise ModelError(f"the model uses a crop that this version does not know: {spec}")
        return spec


BOX = CropSpec("box", crop_size=160, scale=1.25)
"""For the VGGFace2 weights, which were trained on such crops (compared in docs/crops.md).

The same as facenet-pytorch's at 160 pixels with a margin of 32."""

SQUARE = CropSpec("square", crop_size=160)
"""For datasets of upright square crops."""

ALIGNED_112 = CropSpec("five_points", crop_size=112)
"""The crops in CASIA-WebFace's pack and similar ones, for models trained on them."""


def resize(image_rgb: np.ndarray, size: int) -> np.ndarray:
    """Resize to size x size pixels: area averaging when shrinking, bilinear when enlarging."""
    if image_rgb.shape[:2] == (size, size):
        return image_rgb
    shrinks = min(image_rgb.shape[:2]) > size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image_rgb, (size, size), interpolation=how)


def cut_square(
    image_rgb: np.ndarray, box_xyxy: np.ndarray, scale: float, size: int | None = None
) -> np.ndarray:
    """Cut a square of `scale` times the box's longer side, centred on the box.

    It is resized to `size` x `size` pixels, if that is given.
    """
    left, top, right, bottom = (float(v) for v in box_xyxy)
    side = max(2, round(scale * max(right - left, bottom - top)))
    x = round((left + right - side) / 2)
    y = round((top + bottom - side) / 2)
    height, width = image_rgb.shape[:2]
    # Outside the image, repeat its edge.
    rows = np.clip(np.arange(y, y + side), 0, height - 1)
    columns = np.clip(np.arange(x, x + side), 0, width - 1)
    square = image_rgb[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square = square[np.ix_(rows - rows[0], columns - columns[0])]
    return square if size is None else resize(square, size)


def cut_box(image_rgb: np.ndarray, box_xyxy: np.ndarray, scale: float, size: int) -> np.ndarray:
    """Cut the box, `scale` times as wide and as high, and stretch it to a square.

    Identical to facenet-pytorch's `extract_face` with a margin of size (1 - 1 / scale): the box is
    clipped to the image and resized by area averaging.

    Args:
        image_rgb: uint8, (height, width, 3).
        box_xyxy: (4,), left, top, right, bottom in pixels.
        scale: sides of the crop over the sides of the box.
        size: side of the result in pixels.
    """
    left, top, right, bottom = (float(v) for v in box_xyxy)
    more_x, more_y = (right - left) * (scale - 1) / 2, (bottom - top) * (scale - 1) / 2
    columns = _inside(left - more_x, right + more_x, image_rgb.shape[1])
    rows = _inside(top - more_y, bottom + more_y, image_rgb.shape[0])
    cut = np.ascontiguousarray(image_rgb[rows, columns])
    return cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA)


def _inside(start: float, end: float, size: int) -> slice:
    """Return the range of whole pixels within an image, at least one."""
    first = min(int(max(start, 0)), size - 1)
    return slice(first, max(first + 1, int(min(end, size))))


def cut_aligned(
    image_rgb: np.ndarray,
    landmarks: np.ndarray,
    template: np.ndarray,
    size: int,
    interpolation: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_REPLICATE,
) -> np.ndarray:
    """Rotate, scale and shift an image so that its landmarks match a template.

    Args:
        image_rgb: uint8, (height, width, 3).
        landmarks: (5, 2), in the image's pixels.
        template: (5, 2), where they should be, in the result's pixels.
        size: side of the result in pixels.
        interpolation: an OpenCV flag.
        border: an OpenCV flag: what to show outside the image.
    """
    matrix = similarity_transform(landmarks, template)
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if zoom < 0.5:
        # warpAffine reads only four pixels; shrink first so that none is skipped.
        shrink = 2 * zoom
        image_rgb = cv2.resize(image_rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        matrix[:, :2] /= shrink
    return cv2.warpAffine(image_rgb, matrix, (size, size), flags=interpolation, borderMode=border)


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Find the rotation, scale and shift, (2, 3), that best map points (N, 2) to others (N, 2).

    Least squares without reflection (Umeyama, 1991), as a linear system in a = s cos t,
    b = s sin t and the shift.
    """
    x, y = source.astype(np.float64).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    system = np.vstack([np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])])
    (a, b, dx, dy), *_ = np.linalg.lstsq(system, target.T.reshape(-1), rcond=None)
    return np.array([[a, -b, dx], [b, a, dy]])
