"""A compact student that gives the teacher's embeddings: faces, network, loop, packing."""
