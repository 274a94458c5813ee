"""10,000 damaged stores: none runs code, crashes, allocates much memory, or is overwritten."""

from __future__ import annotations

import os
import pickle
import random
import re
import struct
import sys
import tracemalloc

import numpy as np
import pytest

from facesync.errors import StoreError
from facesync.gallery.on_files import FileGallery
from tests.gallery.conftest import enrolled, images, person

STORES = 10_000
CRAFTED = 500
DEPTH = 150_000
"""Tuples nested so deep crash Python when they are hashed."""


class Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def named(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


def crafted(target: str) -> dict[str, bytes]:
    """Pickles made to run code, to allocate memory, or never to end."""
    start, size = b"\x80\x04", struct.pack("<Q", 1 << 40)
    array = named("numpy._core.multiarray", "_reconstruct") + named("numpy", "ndarray")
    array += b"K\x00\x85C\x01b\x87R"
    dtype = named("numpy", "dtype") + short("f4") + b"\x89\x88\x87R"
    huge = b"K\x01" + b"\x8a\x06" + (1 << 41).to_bytes(6, "little") + b"\x85" + dtype
    nested_tuples = b")" + b"\x85" * DEPTH
    doubling = b")" + b"2\x86" * 80
    megabyte = b"B" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20) + b"\x94"
    return {
        "os.system": pickle.dumps(Runs(os.system, f"touch {target}")),
        "eval": pickle.dumps(Runs(eval, f"open({target!r}, 'w')")),
        "exec": pickle.dumps({"Ada": [Runs(exec, f"open({target!r}, 'w')")]}),
        "protocol 0": pickle.dumps(Runs(os.system, f"touch {target}"), protocol=0),
        "nested global": start + short("os") + short("path.join") + b"\x93.",
        "getattr": start + named("builtins", "getattr") + b".",
        "instance": b"(S'touch'\nios\nsystem\n.",
        "object": b"(cos\nsystem\nS'touch'\no.",
        "extension": b"\x82\x01.",
        "persistent": b"Px\n.",
        "ndarray called": start + named("numpy", "ndarray") + b"J\xff\xff\xff\x7f\x85R.",
        "bytes of 1 TB": start + b"\x8e" + size + b".",
        "text of 1 TB": start + b"\x8d" + size + b".",
        "bytearray of 1 TB": b"\x80\x05\x96" + size + b".",
        "number of 2 GB": start + b"\x8b\xff\xff\xff\x7f.",
        "frame of 1 TB": start + b"\x95" + size + b".",
        "memo of 2^32": start + b"]r\xff\xff\xff\xff.",
        "memo of 10^18": b"]p1000000000000000000\n.",
        "bytearray called": start + named("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R.",
        "array of 8 TB": start + array + b"(" + huge + b"\x89C\x04abcdtb.",
        "type of 2 GB": start + named("numpy", "dtype") + short("V2000000000") + b"\x85R.",
        "deep tuples as key": start + b"}" + nested_tuples + b"Ns.",
        "doubled tuples as key": start + b"}" + doubling + b"Ns.",
        "deep lists": start + b"]" * DEPTH + b"a" * (DEPTH - 1) + b".",
        "copies": start
        + megabyte
        + b"0"
        + (named("builtins", "bytearray") + b"h\x00\x85R0") * 5_000
        + b"}.",
        "a set in itself": start + b"\x8f\x94(h\x00\x90.",
        "a list in itself": start + b"]\x94h\x00a.",
        "a name that is a list": start + b"}" + short("Ada") + b"]s.",
        "digits": b"L" + b"9" * 100_000 + b"L\n.",
    }


def mutated(chance: random.Random, whole: bytes) -> bytes:
    """Flip some bits, cut, or insert something, at random places."""
    changed = bytearray(whole)
    kind = chance.randrange(4)
    if kind == 0:
        return bytes(changed[: chance.randrange(len(changed))])
    if kind == 1:
        place, length = chance.randrange(len(changed)), chance.randrange(1, 40)
        changed[place : place + length] = chance.randbytes(chance.randrange(40))
        return bytes(changed)
    # Most of a store is numbers: half of the changes are near the start, where its structure is.
    end = len(changed) if kind == 2 else 900
    for _ in range(chance.randrange(1, 9)):
        changed[chance.randrange(end)] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.fixture
def nothing_runs():
    """Fail if a file makes Python start a program or compile code."""
    ran: list[str] = []
    watched = {"os.system", "os.exec", "os.fork", "subprocess.Popen", "compile", "exec"}
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in watched:
            ran.append(f"{event} {str(arguments)[:200]}")

    sys.addaudithook(watch)
    yield ran
    watching = False
    assert ran == []


def test_crafted_pickles(gallery, tmp_path):
    target = tmp_path / "ran"
    gallery.path.parent.mkdir()
    for name, content in crafted(str(target)).items():
        tracemalloc.start()
        assert refused(gallery, content), name
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40 << 20, (name, peak)
        with pytest.raises(StoreError, match=re.escape(str(gallery.path))):
            gallery.register(person("Cid", 7), [])
        assert gallery.path.read_bytes() == content
        assert not target.exists(), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_mutated_stores(kind, gallery, sealed, nothing_runs):
    chance = random.Random(kind)
    mine = gallery if kind == "plain" else sealed
    mine.register(enrolled("Ada", 1, 1), images(1))
    mine.register(enrolled("Bob", 2, 1), images(1))
    whole = mine.path.read_bytes()
    pieces = list(crafted("nothing").values())
    mine.people()  # so that everything has been imported
    opened = 0
    nothing_runs.clear()
    for number in range(STORES // 2):
        content = mutated(chance, whole)
        if number < CRAFTED:  # a piece of a crafted one, in the middle of a good one
            piece = chance.choice([p for p in pieces if len(p) < 2000])
            place = chance.randrange(len(whole))
            content = whole[:place] + piece[2:-1] + whole[place:]
        if content == whole:
            continue
        opened += not refused(mine, content)
    if kind == "plain":
        # A changed plain store may still be one, with other names or numbers.
        assert opened < STORES // 4
    else:
        # A changed bit may mean nothing, as in the length of a frame; what is sealed is intact.
        assert opened < STORES // 50
        mine.path.write_bytes(whole)
        assert np.array_equal(mine.find("Ada").embedding, enrolled("Ada", 1, 1).embedding)


def refused(gallery: FileGallery, content: bytes) -> bool:
    """Read a store; return whether it was refused, in one line. It is left unchanged."""
    gallery.path.write_bytes(content)
    try:
        gallery.people()
    except StoreError as error:
        assert "\n" not in str(error)
        return True
    finally:
        assert gallery.path.read_bytes() == content
    return False
