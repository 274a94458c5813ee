"""The page in the browser and its API: a third face of the app, served on this machine only."""
