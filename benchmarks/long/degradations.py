"""Bad conditions, simulated on good images; each takes image_rgb, its face and a generator."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np

from facesync.faces.detection import Face
from facesync.images import read_image_rgb

Degradation = Callable[[np.ndarray, Face, np.random.Generator], np.ndarray]


def _dark(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Leave an eighth of the light, with sensor noise."""
    return _clip(image_rgb * 0.125 + generator.normal(0, 3, image_rgb.shape))


def _bright(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Overexposed: two and a half times the light, clipped at white."""
    return _clip(image_rgb * 2.5)


def _backlit(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Put a window behind: the face gets a fifth of the light, the background turns white."""
    height, width = image_rgb.shape[:2]
    (x, y), (w, h) = _centre_and_size(face)
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot((columns - x) / (0.75 * w), (rows - y) / (0.75 * h))
    inside = np.clip((1.2 - distance) / 0.4, 0, 1)[..., None]
    return _clip(inside * image_rgb * 0.2 + (1 - inside) * (image_rgb * 0.5 + 140))


def _blurred(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Out of focus: Gaussian blur, sigma a twentieth of the face's width."""
    return cv2.GaussianBlur(image_rgb, (0, 0), _centre_and_size(face)[1][0] / 20)


def _noisy(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Gaussian noise of standard deviation 40."""
    return _clip(image_rgb + generator.normal(0, 40, image_rgb.shape))


def _jpeg(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """JPEG of quality 10."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, format="JPEG", quality=10)
    return read_image_rgb(buffer.getvalue())


def _small(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Far away: the face's longer side has 32 pixels."""
    zoom = 32 / max(_centre_and_size(face)[1])
    size = [max(1, round(side * zoom)) for side in image_rgb.shape[1::-1]]
    return cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)


def _rotated(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Rotated by 20 degrees about the face."""
    centre = _centre_and_size(face)[0]
    matrix = cv2.getRotationMatrix2D(centre, 20, 1)
    return cv2.warpAffine(
        image_rgb, matrix, image_rgb.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
    )


def _sunglasses(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Two dark lenses and a bridge over the eyes."""
    drawn = image_rgb.copy()
    left, right = face.landmarks[:2]
    apart = float(np.linalg.norm(right - left))
    turned = float(np.degrees(np.arctan2(*(right - left)[::-1])))
    lens = round(0.38 * apart), round(0.3 * apart)
    for eye in (left, right):
        cv2.ellipse(drawn, _point(eye), lens, turned, 0, 360, (15, 15, 18), -1, cv2.LINE_AA)
    bridge = max(1, round(0.1 * apart))
    cv2.line(drawn, _point(left), _point(right), (15, 15, 18), bridge, cv2.LINE_AA)
    return drawn


def _masked(image_rgb: np.ndarray, face: Face, generator: np.random.Generator) -> np.ndarray:
    """Draw a pale blue mask from the bridge of the nose to under the chin."""
    drawn = image_rgb.copy()
    nose, mouth = face.landmarks[2], face.landmarks[3:].mean(axis=0)
    eyes = face.landmarks[:2].mean(axis=0)
    across = face.landmarks[1] - face.landmarks[0]
    down = mouth - eyes
    top = eyes + 0.45 * (nose - eyes)
    outline = [
        top,
        eyes + 0.55 * down + 0.95 * across,
        mouth + 0.35 * down + 0.75 * across,
        mouth + 0.85 * down,
        mouth + 0.35 * down - 0.75 * across,
        eyes + 0.55 * down - 0.95 * across,
    ]
    cv2.fillPoly(drawn, [np.round(outline).astype(np.int32)], (150, 190, 215), cv2.LINE_AA)
    return drawn


DEGRADATIONS: dict[str, Degradation] = {
    "dark": _dark,
    "bright": _bright,
    "backlit": _backlit,
    "blurred": _blurred,
    "noisy": _noisy,
    "JPEG 10": _jpeg,
    "32 px": _small,
    "rotated 20°": _rotated,
    "sunglasses": _sunglasses,
    "mask": _masked,
}


def _clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _centre_and_size(face: Face) -> tuple[tuple[float, float], tuple[float, float]]:
    left, top, right, bottom = (float(v) for v in face.box_xyxy)
    return ((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top)


def _point(xy: np.ndarray) -> tuple[int, int]:
    return round(float(xy[0])), round(float(xy[1]))
