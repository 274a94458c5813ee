"""Recapture simulated: what a live face looks like once it was printed or shown, and filmed again.

Real attacks are few and each dataset's are alike, so training adds these, made from live faces. Two
things keep the network from learning the simulation instead of the attack: an attack and the live
face it was made from go through the same camera afterwards (`camera`), and where the frame ends is
drawn alike for both (`frame_edge`).

All images are uint8 RGB and square; regions are (left, top, right, bottom) in their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facesync.images import encode_jpeg, read_image_rgb

Rng = np.random.Generator

Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crop:
    """A face and its surroundings.

    Attributes:
        image_rgb: uint8, (side, side, 3); black where the image it was cut from ends.
        frame: where that image is.
        face: where the face is.
    """

    image_rgb: np.ndarray
    frame: Region
    face: Region


def attack(rng: Rng, crop: Crop, background_rgb: np.ndarray, kind: str) -> Crop:
    """Turn a live face into one on paper (`print`) or on a screen (`replay`).

    The sheet or screen ends at some distance from the face, or out of sight.
    """
    tone = _on_paper if kind == "print" else _on_screen
    shown = _to_uint8(_glare(rng, tone(rng, _blurred(rng, crop.image_rgb))))
    if rng.random() < 0.35:
        return Crop(shown, crop.frame, crop.face)
    placed = _in_front_of(rng, shown, crop, background_rgb, kind)
    side = crop.image_rgb.shape[0]
    ends_there = rng.random() < 0.5
    return Crop(placed, crop.frame if ends_there else (0, 0, side, side), crop.face)


def camera(rng: Rng, image_rgb: np.ndarray) -> np.ndarray:
    """Film an image: resolution, focus, light, noise and JPEG, alike for live faces and attacks."""
    side = image_rgb.shape[0]
    if rng.random() < 0.5:
        small = max(8, round(side * rng.uniform(0.4, 1.0)))
        shrink = (cv2.INTER_AREA, cv2.INTER_LINEAR)[rng.integers(2)]
        enlarge = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)]
        image_rgb = cv2.resize(image_rgb, (small, small), interpolation=shrink)
        image_rgb = cv2.resize(image_rgb, (side, side), interpolation=enlarge)
    if rng.random() < 0.25:
        image_rgb = cv2.GaussianBlur(image_rgb, (0, 0), rng.uniform(0.3, 1.3))
    x = image_rgb.astype(np.float32) / 255
    if rng.random() < 0.7:
        x = x ** np.exp(rng.uniform(-0.3, 0.3)) * rng.uniform(0.75, 1.25)
        x = x.mean() + (x - x.mean()) * rng.uniform(0.8, 1.2)
        x = _saturated(x, rng.uniform(0.7, 1.3)) * rng.normal(1, 0.05, 3)
    if rng.random() < 0.35:
        x = x + rng.normal(0, rng.uniform(0.002, 0.02), x.shape)
    filmed = _to_uint8(x)
    if rng.random() < 0.7:
        filmed = read_image_rgb(encode_jpeg(filmed, int(rng.integers(40, 97))))
    return filmed


def frame_edge(rng: Rng, crop: Crop) -> np.ndarray:
    """Let the frame end where it did, nearer to the face, or nowhere (mirrored)."""
    side = crop.image_rgb.shape[0]
    frame = crop.frame
    drawn = rng.random()
    if 0.25 <= drawn < 0.65:
        left, top, right, bottom = crop.face
        margins = rng.uniform(0, 1.2, 4) * np.tile([right - left, bottom - top], 2)
        nearer = np.array(crop.face) + margins * [-1, -1, 1, 1]
        frame = tuple(
            np.concatenate([np.maximum(frame[:2], nearer[:2]), np.minimum(frame[2:], nearer[2:])])
        )
    x0, y0, x1, y1 = whole(frame, side)
    how = cv2.BORDER_REFLECT_101 if drawn < 0.25 else cv2.BORDER_CONSTANT
    inside = np.ascontiguousarray(crop.image_rgb[y0:y1, x0:x1])
    return cv2.copyMakeBorder(inside, y0, side - y1, x0, side - x1, how)


def whole(region: Region, side: int) -> tuple[int, int, int, int]:
    """Return a region in whole pixels of a square image; it has at least 8 x 8."""
    x0, y0, x1, y1 = (round(min(max(float(v), 0.0), side)) for v in region)
    x0, y0 = min(x0, side - 8), min(y0, side - 8)
    return x0, y0, max(x1, x0 + 8), max(y1, y0 + 8)


def _on_paper(rng: Rng, x: np.ndarray) -> np.ndarray:
    """Fewer colours, ink that is not black and paper that is not white, grain, halftone, bands."""
    side = x.shape[0]
    x = _saturated(x, rng.uniform(0.5, 1.05))
    ink, paper = rng.uniform(0.02, 0.2), rng.uniform(0.75, 1.0)
    x = ink + (paper - ink) * np.clip(x, 0, 1) ** rng.uniform(0.75, 1.3)
    if rng.random() < 0.5:
        channels = 1 if rng.random() < 0.6 else 3
        grain = rng.normal(0, rng.uniform(0.008, 0.03), (side, side, channels)).astype(np.float32)
        blurred = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.4, 1.0))
        x = x + blurred.reshape(side, side, channels)
    if rng.random() < 0.3:
        angle, period = rng.uniform(0, 1.5), rng.uniform(2.2, 5)
        dots = _wave(side, angle, period) * _wave(side, angle + np.pi / 2, period)
        x = x + rng.uniform(0.01, 0.04) * dots[..., None] * (1 - x)
    if rng.random() < 0.2:
        bands = _wave(side, rng.integers(2) * np.pi / 2, np.exp(rng.uniform(1, 3)))
        x = x * (1 + rng.uniform(0.01, 0.04) * bands[..., None])
    return x * rng.normal(1, 0.05, 3)


def _on_screen(rng: Rng, x: np.ndarray) -> np.ndarray:
    """Other gamma and colours, black that glows, sub-pixels or moire, bands."""
    side = x.shape[0]
    x = np.clip(x, 0, 1) ** rng.uniform(0.75, 1.5)
    x = _saturated(x, rng.uniform(0.75, 1.4)) * rng.uniform(0.9, 1.25)
    x = x + rng.uniform(0, 0.1) * np.array([rng.uniform(0.5, 1), rng.uniform(0.6, 1), 1])
    x = x * [rng.uniform(0.85, 1.05), rng.uniform(0.92, 1.05), rng.uniform(0.97, 1.2)]
    pattern = rng.random()
    if pattern < 0.35:
        x = _sub_pixels(rng, x.astype(np.float32))
    elif pattern < 0.67:
        x = x * (1 + rng.uniform(0.006, 0.05) * _moire(rng, side))
    if rng.random() < 0.2:
        bands = _wave(side, np.pi / 2, rng.uniform(30, 200))
        x = x * (1 + rng.uniform(0.02, 0.1) * bands[..., None])
    return x


def _sub_pixels(rng: Rng, x: np.ndarray) -> np.ndarray:
    """Show an image on red, green and blue stripes, and film those with a grid that does not fit.

    The moire comes of itself.
    """
    side, fine = x.shape[0], 3
    angle, period = rng.uniform(-0.3, 0.3), rng.uniform(2.6, 5.5)
    depth = rng.uniform(0.15, 0.6)
    big = cv2.resize(x, (side * fine, side * fine), interpolation=cv2.INTER_LINEAR)
    stripes = [_wave(side * fine, angle, period, phase) for phase in (0, 2.1, 4.2)]
    mask = 1 - depth * (0.5 + 0.5 * np.stack(stripes, axis=2))
    rows = _wave(side * fine, angle + np.pi / 2, period)
    mask *= (1 - 0.5 * depth * (0.5 + 0.5 * rows))[..., None]
    shown = cv2.GaussianBlur(big * mask / mask.mean(), (0, 0), rng.uniform(0.4, 1.2))
    how = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_NEAREST)[rng.integers(3)]
    return cv2.resize(shown, (side, side), interpolation=how)


def _moire(rng: Rng, side: int) -> np.ndarray:
    waves = np.zeros((side, side, 3), np.float32)
    for _ in range(rng.integers(1, 3)):
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(2.2), np.log(24)))
        shifts = rng.uniform(0, 2 * np.pi, 3) * rng.uniform(0, 1)
        waves += np.stack([_wave(side, angle, period, shift) for shift in shifts], axis=2)
    return waves


def _in_front_of(
    rng: Rng, shown: np.ndarray, crop: Crop, background_rgb: np.ndarray, kind: str
) -> np.ndarray:
    """Put a sheet or screen, a little turned, before a background, with fingers at its edge."""
    side = shown.shape[0]
    left, top, right, bottom = crop.face
    wide, high = right - left, bottom - top
    corners = _sheet(rng, crop)
    mask = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 1.0)
    scene = background_rgb.astype(np.float32) * rng.uniform(0.5, 1.1)
    if rng.random() < 0.75:  # the paper's margin, or the bezel
        light = kind == "print" or rng.random() < 0.2
        colour = rng.uniform(170, 250) if light else rng.uniform(0, 50)
        width = 2 * round(rng.uniform(0, 0.1) * wide) + 3
        outer = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_RECT, (width, width)))
        outer = cv2.GaussianBlur(outer, (0, 0), 0.8)[..., None]
        scene = outer * (colour + rng.normal(0, 6, 3)) + (1 - outer) * scene
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.2))[..., None]
    placed = _to_uint8((soft * shown + (1 - soft) * scene) / 255)
    if rng.random() < 0.3:
        cheek = crop.image_rgb[
            int(max(0, top + 0.4 * high)) : int(top + 0.6 * high) + 1,
            int(max(0, left + 0.3 * wide)) : int(left + 0.7 * wide) + 1,
        ]
        placed = _fingers(rng, placed, corners, wide, cheek.reshape(-1, 3).mean(axis=0))
    return placed


def _sheet(rng: Rng, crop: Crop) -> np.ndarray:
    """Draw the corners of a sheet around the face, within the image that it shows: (4, 2)."""
    side = crop.image_rgb.shape[0]
    left, top, right, bottom = crop.face
    wide, high = right - left, bottom - top
    x0 = max(crop.frame[0], left - rng.uniform(0.08, 1.6) * wide)
    y0 = max(crop.frame[1], top - rng.uniform(0.15, 1.4) * high)
    x1 = min(crop.frame[2], right + rng.uniform(0.08, 1.6) * wide)
    y1 = min(crop.frame[3], bottom + rng.uniform(0.1, 1.4) * high)
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    angle = rng.uniform(-0.12, 0.12)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = corners.mean(axis=0)
    return (corners - centre) @ turn + centre + rng.normal(0, 0.012 * side, (4, 2))


def _fingers(
    rng: Rng, image_rgb: np.ndarray, corners: np.ndarray, wide: float, skin: np.ndarray
) -> np.ndarray:
    drawn = image_rgb.copy()
    centre = corners.mean(axis=0)
    for _ in range(rng.integers(1, 5)):
        edge, along = rng.integers(4), rng.uniform(0.3, 0.95)
        tip = corners[edge] * (1 - along) + corners[(edge + 1) % 4] * along
        inwards = (centre - tip) / max(1.0, float(np.linalg.norm(centre - tip)))
        at = tip - inwards * rng.uniform(-0.02, 0.1) * image_rgb.shape[0]
        size = round(rng.uniform(0.1, 0.25) * wide), round(rng.uniform(0.05, 0.09) * wide)
        angle = np.degrees(np.arctan2(inwards[1], inwards[0])) + rng.uniform(-25, 25)
        colour = np.clip(skin * rng.uniform(0.7, 1.2), 0, 255)
        where = round(float(at[0])), round(float(at[1]))
        cv2.ellipse(drawn, where, size, angle, 0, 360, colour.tolist(), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(drawn, (0, 0), 0.8)


def _glare(rng: Rng, x: np.ndarray) -> np.ndarray:
    if rng.random() >= 0.25:
        return x
    side = x.shape[0]
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    (x0, y0), (wide, high) = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.4, 2)
    spot = np.exp(-(((columns - x0) / wide) ** 2) - ((rows - y0) / high) ** 2)
    return x + rng.uniform(0.1, 0.6) * spot[..., None]


def _wave(side: int, angle: float, period: float, shift: float = 0.0) -> np.ndarray:
    """Return a cosine grating, float32 (side, side), -1…1; the period is in pixels."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    across = np.float32(np.cos(angle)) * columns + np.float32(np.sin(angle)) * rows
    return np.cos(across * np.float32(2 * np.pi / period) + np.float32(shift))


def _blurred(rng: Rng, image_rgb: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image_rgb.astype(np.float32) / 255, (0, 0), rng.uniform(0.3, 1.2))


def _saturated(x: np.ndarray, by: float) -> np.ndarray:
    grey = x.mean(axis=2, keepdims=True)
    return grey + (x - grey) * by


def _to_uint8(x: np.ndarray) -> np.ndarray:
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)
