"""FaceSync: from a face dataset to a trained model to a private face app."""

__version__ = "0.1.0"
