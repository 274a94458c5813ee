import numpy as np

from facesync.faces.lighting import equalize


def test_clahe_raises_contrast_and_keeps_grey_grey():
    ramp = np.linspace(100, 130, 64).astype(np.uint8)
    grey = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (64, 64, 3)))
    evened = equalize(grey)
    assert evened.std() > grey.std()
    assert np.ptp(evened.astype(int), axis=2).max() <= 2
