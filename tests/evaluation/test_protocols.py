"""Published pair lists are read as they are; other files are refused in one line."""

import pickle

import numpy as np
import pytest

from facesync.data.recordio import write_pack
from facesync.errors import DataError, FileError
from facesync.evaluation.protocols import assign_folds, draw_pairs, read_bin, read_lfw_pairs


def test_lfw_list(pairs_file, folder):
    pairs = read_lfw_pairs(pairs_file, folder)
    assert pairs.folds == 3 and pairs.folds_given
    assert pairs.same.tolist() == [True, True, False, False] * 3
    assert pairs.fold.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    first = [pairs.images[pairs.left[0]].name, pairs.images[pairs.right[0]].name]
    assert first == ["Name_0/Name_0_0001", "Name_0/Name_0_0002"]
    # Each image once, however many pairs it is in.
    assert len({image.name for image in pairs.images}) == len(pairs.images) == 21
    identities = [(pairs.images[a].identity, pairs.images[b].identity)
                  for a, b in zip(pairs.left, pairs.right, strict=True)]  # fmt: skip
    assert [a == b for a, b in identities] == pairs.same.tolist()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_that_windows_wrote(pairs_file, folder, encoding):
    plain = read_lfw_pairs(pairs_file, folder)
    pairs_file.write_text(pairs_file.read_text(), encoding=encoding, newline="\r\n")
    marked = read_lfw_pairs(pairs_file, folder)
    assert [image.name for image in marked.images] == [image.name for image in plain.images]
    assert marked.left.tolist() == plain.left.tolist()


def test_a_list_of_one_fold_is_split(pairs_file, folder):
    genuine = [f"Name_{n}\t1\t2" for n in range(4)]
    impostor = [f"Name_{n}\t1\tName_{n + 1}\t1" for n in range(4)]
    pairs_file.write_text("\n".join(["4", *genuine, *impostor]))
    pairs = read_lfw_pairs(pairs_file, folder)
    assert not pairs.folds_given
    assert pairs.folds == 4
    for number in range(4):  # each fold has both kinds
        assert pairs.same[pairs.fold == number].tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a pairs list"),
        ("ten\t300\n", "not a pairs list"),
        ("2\t1\nName_0\t1\t2\n", "announces 2 folds of 1 .* has 1"),
        ("1\t2\nName_0\t1\t2\nName_1\t1\t2\nName_0\t1\tName_1\t1\nName_0\t1\n", "line 5"),
        ("1\t1\nName_0\t1\t2\nName_0\t1\tName_1\t1\n", "too few"),
        ("1\t2\nName_0\t1\t2\nName_9\t1\t2\nName_0\t1\tName_1\t1\nName_0\t1\tName_2\t1\n",
         "2 of the images"),
        (f"2\nName_0\t1\t2\nName_1\t1\t{'2' * 5000}\nName_0\t1\tName_1\t1\n"
         "Name_0\t1\tName_2\t1\n", "1 of the images"),
    ],
    ids=["empty", "words", "short", "bad line", "one pair", "missing images", "long number"],
)  # fmt: skip
def test_other_lists_are_refused(text, says, pairs_file, folder):
    pairs_file.write_text(text)
    with pytest.raises(DataError, match=says):
        read_lfw_pairs(pairs_file, folder)


def test_missing_files_are_refused(pairs_file, folder, tmp_path):
    with pytest.raises(FileError):
        read_lfw_pairs(tmp_path / "none.txt", folder)
    with pytest.raises(DataError):
        read_lfw_pairs(pairs_file, tmp_path / "none")


def encoded(folder, count):
    return [path.read_bytes() for path in sorted(folder.glob("*/*.jpg"))[:count]]


def python2_pickle(images, answers):
    """Write what Python 2's pickle.dump(…, protocol=2) gives for (list of str, list of bool)."""
    items = b"".join(b"T" + len(p).to_bytes(4, "little") + p for p in images)
    flags = b"".join(b"\x88" if answer else b"\x89" for answer in answers)
    return b"\x80\x02](" + items + b"e](" + flags + b"e\x86."


@pytest.mark.parametrize("kind", ["python 3", "python 2", "protocol 2", "arrays"])
def test_bin_sets_of_all_writers(kind, folder, tmp_path):
    images, answers = encoded(folder, 8), [True, False, True, False]
    path = tmp_path / "lfw.bin"
    if kind == "python 2":
        path.write_bytes(python2_pickle(images, answers))
    else:
        held = [np.frombuffer(p, np.uint8) for p in images] if kind == "arrays" else images
        path.write_bytes(pickle.dumps((held, answers), protocol=2 if kind == "protocol 2" else 4))
    pairs = read_bin(path)
    assert [image.read() for image in pairs.images] == images
    assert pairs.same.tolist() == answers
    assert (pairs.left.tolist(), pairs.right.tolist()) == ([0, 2, 4, 6], [1, 3, 5, 7])
    assert pairs.fold.tolist() == [0, 1, 2, 3]


def test_bin_folds_are_ten_consecutive_parts(folder, tmp_path):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((encoded(folder, 1) * 60, [True] * 30)))
    assert read_bin(path).fold.tolist() == np.repeat(np.arange(10), 3).tolist()


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    "content",
    [Evil(), ([b"a"], [True]), ([b"a", 7], [True]), {"a": 1}, ([b"a", b"b"], [True])],
    ids=["code", "half a pair", "a number", "mapping", "one pair"],
)
def test_other_pickles_are_refused(content, tmp_path, capsys):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises((DataError, FileError)):
        read_bin(path)
    assert capsys.readouterr().out == ""


def test_the_shared_bin_set_opens(shared):
    pairs = read_bin(shared / "data" / "recordio" / "verify.bin")
    assert len(pairs.images) == 40 and pairs.same.sum() == 10
    assert pairs.images[39].decode().shape[2] == 3


def test_drawn_pairs(folder):
    pairs = draw_pairs(folder, 50, seed=1)
    who = [image.identity for image in pairs.images]
    named = [who[a] == who[b] for a, b in zip(pairs.left, pairs.right, strict=True)]
    assert pairs.same.tolist() == named
    assert pairs.same.sum() == 6 * 10 and (~pairs.same).sum() == 50
    unordered = {frozenset(pair) for pair in zip(pairs.left, pairs.right, strict=True)}
    assert len(unordered) == len(pairs.same)
    again, other = draw_pairs(folder, 50, seed=1), draw_pairs(folder, 50, seed=2)
    assert (again.left == pairs.left).all() and (again.right == pairs.right).all()
    assert not (other.left == pairs.left).all()
    # All there are, where more are asked for.
    assert (~draw_pairs(folder, 10**6, seed=1).same).sum() == 30 * 29 // 2 - 60


def test_pairs_are_drawn_from_a_pack_too(folder, tmp_path):
    files = sorted(folder.glob("*/*.jpg"))
    write_pack(tmp_path / "pack", [(n // 5, file.read_bytes()) for n, file in enumerate(files)])
    pairs = draw_pairs(tmp_path / "pack", 20, seed=1)
    assert len(pairs.images) == 30 and pairs.images[0].read() == files[0].read_bytes()


def test_of_too_many_genuine_pairs_those_of_random_people_are_drawn(folder, monkeypatch):
    monkeypatch.setattr("facesync.evaluation.protocols.MOST_GENUINE", 25)
    pairs = draw_pairs(folder, 50, seed=1)
    assert pairs.same.sum() == 25 and (~pairs.same).sum() == 50
    people = {pairs.images[n].identity for n in pairs.left[pairs.same]}
    other = draw_pairs(folder, 50, seed=2)
    assert len(people) == 3 and len(pairs.images) == 30
    assert people != {other.images[n].identity for n in other.left[other.same]}


def test_one_person_alone_makes_no_pairs(folder, tmp_path):
    for path in (folder / "Name_0").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "one" / "Name_0").mkdir(parents=True)
    for path in tmp_path.glob("*.jpg"):
        path.rename(tmp_path / "one" / "Name_0" / path.name)
    with pytest.raises(DataError, match="only one person"):
        draw_pairs(tmp_path / "one", 10, seed=1)


def test_folds_share_both_kinds_evenly():
    same = np.array([True] * 23 + [False] * 40)
    fold = assign_folds(same)
    assert np.bincount(fold[same], minlength=10).tolist() == [3, 2, 2, 3, 2, 2, 3, 2, 2, 2]
    assert set(np.bincount(fold[~same])) == {4}
