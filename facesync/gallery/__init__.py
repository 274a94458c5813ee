"""Who is known: the store of templates and the decision against it."""
