"""Datasets: packs, folders of images, splits, conversion and download."""
