"""Names that look alike in different scripts, such as `Ada` with a Cyrillic `А`.

The method is that of Unicode Technical Standard 39, "Unicode Security Mechanisms": two names look
alike if their skeletons are the same. The table holds what confusables.txt says, in the usual
fonts, of letters of Cyrillic, Greek, Armenian, Cherokee and Lisu and of the Latin ones beside a to
z, and of hyphens and apostrophes.
"""

# ruff: noqa: RUF001, RUF002, RUF003 - ambiguous letters are what this is about

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from facesync.gallery.people import Person, name_key

# By case, since capitals may look like others than their small letters: `В` like `B`, `в` not.
_LATIN = str.maketrans(
    # Cyrillic
    "АВСЕԌНІЈКӀМОРԚЅТѴԜХУЬ" + "асԁеһіјкӏорԛѕѵԝхуг"
    # Greek
    + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ" + "αγικνορσυϲϳ"
    # Armenian
    + "ՕՏԼ" + "օոսհցզ"
    # Cherokee
    + "ᎠᎡᎢᎥᎪᎫᎬᎳᎷᎻᎽᏀᏃᏏᏒᏔᏚᏙᏞᏟᏢᏦᏴ"
    # Lisu
    + "ꓐꓑꓓꓔꓖꓗꓙꓚꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴꓜ"
    # Latin
    + "ıɑɡɩȷ"
    # Hyphens and dashes, apostrophes and quotation marks
    + "‐‑‒–—―−" + "’‘ʼʹ`´",
    "ABCEGHIJKlMOPQSTVWXYb" + "acdehijklopqsvwxyr"
    + "ABEZHIKMNOPTYXCJ" + "ayikvopoucj"
    + "OSL" + "onuhgq"
    + "DRTiAJEWMHYGZbRWSVLCPKB"
    + "BPDTGKJCFMNLSRVHWXYAElOUZ"
    + "iagij"
    + "-------" + "''''''",
)  # fmt: skip


def look_alike(name: str, people: Iterable[Person]) -> Person | None:
    """Return somebody whose name is another, but looks the same; None if nobody's does."""
    for person in people:
        if name_key(person.name) != name_key(name) and _skeleton(person.name) == _skeleton(name):
            return person
    return None


def _skeleton(name: str) -> str:
    apart = unicodedata.normalize("NFD", name)  # so that accents do not hide the letter
    return name_key(apart.translate(_LATIN))
