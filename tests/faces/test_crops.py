"""Crops are cut as specified, and the specification is plain data."""

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.faces.crops import (
    ALIGNED_112,
    BOX,
    SQUARE,
    TEMPLATE_112,
    CropSpec,
    cut_box,
    cut_square,
    resize,
    similarity_transform,
)
from facesync.faces.detection import Face


def _face(box=(0, 0, 10, 10), landmarks=TEMPLATE_112):
    return Face(np.array(box, np.float32), np.array(landmarks, np.float32), 1.0)


@pytest.fixture
def ramp():
    """An image whose red is its column and whose green is its row."""
    rows, columns = np.mgrid[0:200, 0:250]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def test_square_is_centred_and_not_stretched(ramp):
    cut = cut_square(ramp, np.array([100, 50, 120, 90]), scale=1.5)
    assert cut.shape == (60, 60, 3)
    assert (cut[0, 0, :2], cut[-1, -1, :2]) == (pytest.approx([80, 40]), pytest.approx([139, 99]))


@pytest.mark.parametrize("box", [(-50, -50, 20, 20), (200, 150, 300, 260), (-500, 0, -400, 50),
                                 (0, 0, 250, 200), (10, 10, 10, 10)])  # fmt: skip
@pytest.mark.parametrize("cut", [cut_square, cut_box])
def test_a_box_outside_the_image_still_gives_a_crop(ramp, cut, box):
    assert cut(ramp, np.array(box), scale=1.3, size=64).shape == (64, 64, 3)


@pytest.mark.parametrize("box", [(40, 30, 120, 150), (-20, -5, 70, 80), (180, 90, 260, 210)])
def test_the_box_crop_is_the_same_as_facenet_pytorchs(ramp, box):
    """Models trained with its MTCNN(margin=32, post_process=False) get the same input here."""
    pytest.importorskip("facenet_pytorch")
    from facenet_pytorch.models.utils.detect_face import extract_face

    theirs = extract_face(ramp, box, image_size=160, margin=32).numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(BOX.cut(ramp, _face(box)), theirs.astype(np.uint8))


def test_edge_pixels_are_repeated(ramp):
    cut = cut_square(ramp, np.array([-10, 0, 10, 20]), scale=1.0)
    assert (cut[:, :11, 0] == 0).all()
    assert cut[0, -1, 0] == 9


def test_similarity_transform_recovers_a_known_one():
    angle, scale, shift = 0.4, 1.7, np.array([12.0, -5.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity_transform(TEMPLATE_112, TEMPLATE_112 @ turn.T + shift)
    np.testing.assert_allclose(matrix, np.column_stack([turn, shift]), atol=1e-9)


def test_an_aligned_image_is_its_own_aligned_crop(ramp):
    image = ramp[:112, :112]
    np.testing.assert_array_equal(ALIGNED_112.cut(image, _face()), image)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0, 6.0])
@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_alignment_undoes_rotation_and_scale(scale, angle):
    """Landmarks drawn in a rotated and scaled image end up on the template."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE_112 - 56) @ turn.T + 400
    image = np.zeros((800, 800, 3), np.uint8)
    rows, columns = np.mgrid[0:800, 0:800]
    for x, y in landmarks:
        image[np.hypot(columns - x, rows - y) < max(2.0, 3 * scale)] = 255
    cut = ALIGNED_112.cut(image, _face(landmarks=landmarks))[:, :, 0].astype(float)
    assert cut.shape == (112, 112)
    for x, y in TEMPLATE_112:
        near = cut[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7]
        rows, columns = np.mgrid[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7]
        centre = (columns * near).sum() / near.sum(), (rows * near).sum() / near.sum()
        assert np.hypot(centre[0] - x, centre[1] - y) < 1


@pytest.mark.parametrize("spec", [BOX, SQUARE, ALIGNED_112])
def test_the_input_is_normalised_as_in_training(spec):
    crop = np.zeros((spec.crop_size, spec.crop_size, 3), np.uint8)
    crop[..., 0], crop[..., 1] = 255, 128
    array = spec.array(crop)
    assert (array.shape, array.dtype) == ((3, 160, 160), np.float32)
    assert [float(channel.mean()) for channel in array] == pytest.approx(
        [0.99609375, 0.00390625, -0.99609375]
    )


def test_resize_returns_images_of_the_right_size_unchanged(ramp):
    square = ramp[:160, :160]
    assert resize(square, 160) is square
    assert resize(square, 80).shape == (80, 80, 3)


@pytest.mark.parametrize(
    "data",
    [{}, {"kind": "round", "crop_size": 160}, {"kind": "square", "crop_size": 1, "x": 2},
     {"kind": "square", "crop_size": 160, "input_size": 10**9},
     {"kind": "square", "crop_size": "160"}, {"kind": "square", "crop_size": 160.5},
     {"kind": "square", "crop_size": 160, "scale": -1}, "crop",
     {"kind": "square", "crop_size": 160, "std": float("nan")}],
)  # fmt: skip
def test_an_unknown_specification_is_refused(data):
    with pytest.raises(ModelError, match="crop"):
        CropSpec.from_dict(data)
