"""Two public-domain photographs that ship inside matplotlib and scikit-image."""

import pytest


@pytest.fixture(scope="session")
def astronaut():
    """Eileen Collins (NASA), RGB 512 x 512."""
    from skimage import data

    return data.astronaut()


@pytest.fixture(scope="session")
def grace_hopper():
    """Grace Hopper (US Navy), RGB 600 high and 512 wide."""
    from matplotlib import cbook

    from facesync.images import read_image_rgb

    return read_image_rgb(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
