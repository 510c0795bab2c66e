"""Measurements beside the figures to beat. `python -m bench` (or `make bench`); see `--help`."""
