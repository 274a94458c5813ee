"""Packs, images and datasets: everything before a face is looked at."""
