"""Node-pressure eviction: when the machine runs low, pods go before the kernel picks for itself.

`model` has signals, thresholds and readings, `plan` decides (pure), `gauges` reads the machine, `run`
is the loop.
"""
