"""Images that were already cut on five points, as CASIA-WebFace's are: no face need be found."""

from __future__ import annotations

import numpy as np

from facesync.faces.crops import TEMPLATE_112
from facesync.faces.detection import Face

# MTCNN's box around a face whose landmarks match the template: the median over the 10,542 faces of
# UTKFace, MEBeauty, SCUT-FBP5500 and DFDC that the embedded model was distilled on.
_ALIGNED_BOX = np.array([15.5, 12.5, 94.5, 115.6], dtype=np.float32)


def aligned_face(side: int) -> Face:
    """Return where the face is in an image of `side` pixels that was cut on five points."""
    scale = side / 112
    return Face(_ALIGNED_BOX * scale, (TEMPLATE_112 * scale).astype(np.float32), 1.0)
