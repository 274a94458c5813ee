"""Training a face model.

To follow a run, read `start` (from the settings to a run), `epoch` (epoch after epoch) and `step`
(one step of the optimizer); `run` says what a run is, `resume` how it is picked up again.
"""
