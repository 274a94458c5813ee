"""Registered people: the store, its keys and images, and the decision about a face."""
