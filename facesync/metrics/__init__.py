"""Error rates and pairs: the mathematics of evaluation, without images or models."""
