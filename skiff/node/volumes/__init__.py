"""Volumes of pods: what is put on disk before containers start, kept current, and taken away.

Theory of operation. `plugins.py` holds the ordered table of plugins; each says whether a volume is
its own and makes it. Content volumes (configMap, secret, downwardAPI, projected) are a payload,
computed by pure functions (`payload.py`) from objects (`objects.py` watches those that this node's
pods refer to) and tokens (`tokens.py`), and written by `Disk` atomically. `manager.py` ties them
together: `setup` is idempotent and is called again on every change.

`disk.py` is the real Disk; `memory.py` its twin for simulated nodes and tests.
"""
