"""Error rates, pairs and calibration: the mathematics of evaluation, without images or models."""
