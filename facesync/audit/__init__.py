"""Finding faults in a dataset: copies, images without a face, wrong identities."""
