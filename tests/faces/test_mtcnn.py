"""The cascade finds the same faces as facenet-pytorch's, and follows faces without a search."""

from dataclasses import replace

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.faces import mtcnn_nets, onnx_files
from facesync.faces.boxes import overlap
from facesync.faces.detection import FaceDetector
from facesync.faces.mtcnn import AreaSampler, search, suppress
from facesync.faces.mtcnn_nets import onnx_nets, torch_nets


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("facenet_pytorch").MTCNN(keep_all=True, min_face_size=40)


@pytest.mark.parametrize("size", [(24, 24), (48, 48), (7, 90), (100, 133)])
@pytest.mark.parametrize("corners", [(0, 0, 200, 150), (3, 5, 10, 9), (50, 20, 151, 149)])
def test_areas_are_averaged_as_in_torch(size, corners):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    left, top, right, bottom = corners
    part = torch.from_numpy(
        image[top:bottom, left:right].transpose(2, 0, 1)[None].astype(np.float32)
    )
    expected = torch.nn.functional.interpolate(part, size=size, mode="area")
    sampler = AreaSampler(image)
    both = [sampler.sample(np.array([corners]), size)]
    both += [sampler.resize(size)] if part.shape[2:] == image.shape[:2] else []
    for ours in both:
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4)


def test_suppression_keeps_the_best_of_overlapping_boxes():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
    assert list(suppress(boxes, np.array([0.7, 0.9, 0.8], np.float32), 0.5)) == [1, 2]
    assert list(suppress(boxes, np.array([0.7, 0.9, 0.8], np.float32), 0.9)) == [1, 2, 0]
    assert suppress(boxes[:0], np.empty(0, np.float32), 0.5).shape == (0,)


def _inside(box, image):
    """Whether the squares that R-Net and O-Net saw of a face were inside the image."""
    around = (box[2:] - box[:2]).max() / 3
    return (box[:2] > around).all() and (box[2:] + around < image.shape[1::-1]).all()


def _agree(detector, theirs, image):
    """Compare the faces well inside an image; return how many there are."""
    boxes, probabilities, points = theirs.detect(image, landmarks=True)
    found = [] if boxes is None else zip(boxes, points, probabilities, strict=True)
    ours = [face for face in detector.detect(image) if _inside(face.box_xyxy, image)]
    sure = [
        (box, landmarks)
        for box, landmarks, probability in found
        if probability >= detector.min_probability and _inside(box, image)
    ]
    assert len(ours) == len(sure)
    for box, landmarks in sure:
        best = max(ours, key=lambda face: overlap(face.box_xyxy, box))
        assert overlap(best.box_xyxy, box) > 0.99
        assert np.abs(best.landmarks - landmarks).max() < 0.1
    return len(ours)


def test_the_same_faces_as_facenet_pytorch(detector, theirs, astronaut, grace_hopper):
    assert _agree(detector, theirs, astronaut) == 1
    assert _agree(detector, theirs, np.hstack([astronaut, grace_hopper[:512]])) == 2
    assert _agree(detector, theirs, astronaut[:60, :80]) == 0


def test_the_same_faces_on_real_images(detector, theirs, shared):
    import cv2

    from facesync.images import read_image_rgb

    images = sorted((shared / "data" / "lfw").glob("*/*.jpg"))[::150]
    assert sum(_agree(detector, theirs, read_image_rgb(path)) for path in images) > 20
    video = cv2.VideoCapture(str(shared / "data" / "videos" / "stage_several_faces.mp4"))
    assert _agree(detector, theirs, video.read()[1][:, :, ::-1].copy()) > 1
    video.release()


def _moved(image, x, y, scale=1.0):
    import cv2

    matrix = np.array([[scale, 0, x], [0, scale, y]], dtype=np.float64)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(("x", "y", "scale"), [(0, 0, 1), (8, -6, 1), (-12, 10, 1), (0, 0, 1.06)])
def test_a_face_that_moved_is_found_again(detector, astronaut, x, y, scale):
    before = detector.detect(astronaut)
    after = _moved(astronaut, x, y, scale)
    (followed,) = detector.follow(after, before)
    (searched,) = detector.detect(after)
    assert overlap(followed.box_xyxy, searched.box_xyxy) > 0.85
    assert np.abs(followed.landmarks - searched.landmarks).max() < 4


def test_how_many_crops_go_through_a_network_at_once_changes_nothing(astronaut):
    by_batch = [search(replace(onnx_nets(), batch=batch), astronaut, 40) for batch in (1, 512)]
    for one, other in zip(*by_batch, strict=True):
        assert len(one) == 1
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_face_that_has_left_is_lost(detector, astronaut):
    before = detector.detect(astronaut)
    assert detector.follow(np.full_like(astronaut, 128), before) == [None]
    assert detector.follow(_moved(astronaut, 200, 0), before) == [None]
    assert detector.follow(astronaut, []) == []


def test_faces_keep_their_order_and_are_not_confused(detector, astronaut, grace_hopper):
    both = np.hstack([astronaut, grace_hopper[:512]])
    one, other = detector.detect(both)
    for faces in ([one, other], [other, one]):
        for face, again in zip(faces, detector.follow(both, faces), strict=True):
            assert overlap(face.box_xyxy, again.box_xyxy) > 0.85
    assert sum(face is not None for face in detector.follow(both, [one, one])) == 1


def test_faces_are_followed_in_the_pixels_of_large_images(detector, astronaut):
    large = np.kron(astronaut, np.ones((4, 4, 1), np.uint8))
    before = detector.detect(large)
    (again,) = detector.follow(large, before)
    assert overlap(before[0].box_xyxy, again.box_xyxy) > 0.85


def test_the_networks_that_ship_are_facenet_pytorchs():
    pytest.importorskip("facenet_pytorch")
    ours, theirs = onnx_nets(), torch_nets("cpu")
    random = np.random.default_rng(0)
    sizes = {"pnet": (3, 40, 57), "rnet": (5, 24, 24), "onet": (5, 48, 48)}
    for name, (count, *size) in sizes.items():
        batch = random.uniform(0, 255, (count, 3, *size)).astype(np.float32)
        outputs = getattr(ours, name)(batch), getattr(theirs, name)(batch)
        for one, other in zip(*outputs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, strict=True)


def test_networks_that_are_damaged_or_missing_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(mtcnn_nets, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match=r"cannot read .*mtcnn-pnet\.json"):
        FaceDetector()
    for name in ("pnet", "rnet", "onet"):
        onnx_files.write(mtcnn_nets.net_path(name), b"", {})
    mtcnn_nets.net_path("onet").write_bytes(b"another")
    with pytest.raises(ModelError, match=r"mtcnn-pnet\.onnx is not an ONNX file"):
        FaceDetector()


def test_faces_are_found_and_followed_in_torch(detector, astronaut):
    pytest.importorskip("facenet_pytorch")
    before = detector.detect(astronaut)
    elsewhere = FaceDetector()
    elsewhere._nets = torch_nets("cpu")
    np.testing.assert_allclose(
        elsewhere.follow(astronaut, before)[0].box_xyxy,
        detector.follow(astronaut, before)[0].box_xyxy,
        atol=0.1,
    )
    np.testing.assert_allclose(
        elsewhere.detect(astronaut)[0].landmarks, before[0].landmarks, atol=0.1
    )


@pytest.mark.parametrize("sides", ["left", "right", "top", "bottom", "all"])
def test_faces_at_the_edge_have_the_landmarks_that_they_have_inside(
    detector, theirs, astronaut, sides
):
    # facenet-pytorch stretches what is left of a square outside the image, and is wrong here.
    (inside,) = detector.detect(astronaut)
    left, top, right, bottom = inside.box_xyxy.round().astype(int)
    height, width = astronaut.shape[:2]
    cut = {
        "left": (left, 0, width, height),
        "top": (0, top, width, height),
        "right": (0, 0, right, height),
        "bottom": (0, 0, width, bottom),
        "all": (left, top, right, bottom),
    }[sides]
    image = np.ascontiguousarray(astronaut[cut[1] : cut[3], cut[0] : cut[2]])
    (face,) = detector.detect(image)
    eyes = np.linalg.norm(inside.landmarks[0] - inside.landmarks[1])
    off = np.abs(face.landmarks + cut[:2] - inside.landmarks).max() / eyes
    assert off < 0.1
    if sides == "all":
        _, _, (points,) = theirs.detect(image, landmarks=True)
        assert np.abs(points + cut[:2] - inside.landmarks).max() / eyes > 2 * off
