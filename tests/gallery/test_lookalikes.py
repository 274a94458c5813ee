"""Names that look alike in two scripts."""

from __future__ import annotations

import pytest

from facesync.gallery.lookalikes import look_alike
from tests.gallery.conftest import person


@pytest.mark.parametrize(
    ("registered", "typed"),
    [
        ("Ada", "\u0410d\u0430"),  # Cyrillic
        ("BOB", "\u0412\u041e\u0412"),  # all of it Cyrillic
        ("Kate", "\u039aate"),  # Greek
        ("\u039aate", "\u041aate"),  # Greek and Cyrillic
        ("Jos\u00e9", "J\u043es\u00e9"),
        ("Zo\u00eb", "Zo\u0451"),
        ("Paul", "Paul".replace("u", "\u057d")),  # Armenian
        ("Ada", "\u13aada"),  # Cherokee
        ("Ada", "\ua4eeda"),  # Lisu
        ("Ana-Lena", "Ana\u2013Lena"),
        ("O'Neil", "O\u2019Neil"),
    ],
)
def test_these_look_alike(registered, typed):
    found = look_alike(typed, [person("Somebody"), person(registered)])
    assert found is not None and found.name == registered


@pytest.mark.parametrize("typed", ["ADA", "Ad\u00e1", "Adam", "\u0410\u0434\u0430", "\u827e\u8fbe"])
def test_these_are_the_same_name_or_look_different(typed):
    assert look_alike(typed, [person("Ada")]) is None
