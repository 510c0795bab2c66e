"""A whole cluster in one process, on virtual time: what tests import."""
