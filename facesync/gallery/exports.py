"""Everything stored about one person, for that person: a zip of JSON and images."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from facesync.errors import StoreError
from facesync.files import replacing
from facesync.gallery.people import clean_name
from facesync.gallery.store import Gallery


def export(gallery: Gallery, name: str, file: Path) -> int:
    """Write what `packed` returns into a file, mode 0600; return the number of images.

    Raises:
        StoreError: see `packed`.
        FileError: the file cannot be written.
    """
    data, images = packed(gallery, name)
    with replacing(file, private=True) as opened:
        opened.write(data)
    return images


def packed(gallery: Gallery, name: str) -> tuple[bytes, int]:
    """Return everything stored about a person as a zip file, not encrypted, and how many images.

    `person.json` has the template, each sample's embedding and quality, and the times;
    `pictures/` has the sample images.

    Raises:
        StoreError: nobody has this name, or something cannot be opened.
    """
    with gallery.locked():  # the images may have to be put in place first
        person = gallery.find(name)
        if person is None:
            raise StoreError(f"nobody is registered as {clean_name(name)}")
        images = gallery.encoded_images(person.name)
    facts = {
        "name": person.name,
        "registered": person.registered and person.registered.isoformat(),
        "changed": person.changed and person.changed.isoformat(),
        "model": person.fingerprint,
        "samples": person.samples,
        "embedding": person.embedding.tolist(),
        "sample_embeddings": person.sample_embeddings.tolist(),
        "sample_qualities": person.sample_qualities.tolist(),
        "pictures": list(images),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "person.json",
            json.dumps(facts, ensure_ascii=False, allow_nan=False, indent=1),
            zipfile.ZIP_DEFLATED,
        )
        for image, data in images.items():
            archive.writestr(f"pictures/{image}", data)
    return file.getvalue(), len(images)
