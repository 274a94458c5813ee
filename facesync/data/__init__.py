"""Packs, pictures and datasets: everything before a face is looked at."""
