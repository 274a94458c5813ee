"""What the cells of `FaceID.ipynb` call, so that they stay short."""
