"""How good a model is: verification protocols, error rates, calibration, reports."""
