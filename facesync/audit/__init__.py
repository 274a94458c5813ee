"""A dataset looked through: copies, images without a face, wrong identities."""
