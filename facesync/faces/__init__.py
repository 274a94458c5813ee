"""From an image to an embedding: detection, the crop, the model and its weights."""
