"""The `skiff` command, and the composition root that wires components into processes."""
