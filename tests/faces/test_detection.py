"""MTCNN finds faces, in images of any size."""

import numpy as np
import pytest

from facesync.faces.detection import Face, FaceDetector, main_face


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def test_one_face_and_its_landmarks(detector, astronaut):
    (face,) = detector.detect(astronaut)
    left, top, right, bottom = face.box_xyxy
    assert 150 < left < 200 < 240 < right < 290 and 40 < top < 90 < 150 < bottom < 190
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert left_mouth[0] < right_mouth[0]
    assert face.probability > 0.99


def test_several_faces_come_largest_first(detector, astronaut, grace_hopper):
    both = np.zeros((600, 1024, 3), np.uint8)
    both[:512, :512] = astronaut
    both[:, 512:] = grace_hopper
    first, second = detector.detect(both)
    assert first.area > second.area
    assert first.box_xyxy[0] > 512 > second.box_xyxy[2]


def test_large_images_are_shrunk_for_the_search_only(detector, astronaut):
    small = detector.detect(astronaut)[0]
    large = detector.detect(np.kron(astronaut, np.ones((6, 6, 1), np.uint8)))[0]
    np.testing.assert_allclose(large.box_xyxy / 6, small.box_xyxy, atol=8)
    np.testing.assert_allclose(large.landmarks / 6, small.landmarks, atol=4)


@pytest.mark.parametrize(
    "shape", [(1, 1), (10, 20000), (20000, 10), (39, 39), (40, 40), (41, 300), (480, 640)]
)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_without_a_face_give_none(detector, shape, value):
    assert detector.detect(np.full((*shape, 3), value, np.uint8)) == []


def test_the_main_face_is_large_and_central():
    def face(x, y, side):
        return Face(np.array([x, y, x + side, y + side], np.float32), np.zeros((5, 2)), 1.0)

    image = np.zeros((250, 250, 3), np.uint8)
    central, edge = face(80, 80, 90), face(-20, 60, 100)
    assert main_face([edge, central], image) is central
    left, right = face(10, 100, 60), face(170, 90, 70)
    assert main_face([left, right], image) is right
    assert main_face([left], image) is left
