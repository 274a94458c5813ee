"""A gallery that several doors share: a PostgreSQL server keeps sealed bytes, and nothing else."""
