"""Nodes, seen from the control plane: health and taints, eviction, addresses, and pods left behind.

`health.py` judges (pure), `lifecycle.py` acts on it, `eviction.py` removes pods that do not tolerate
a NoExecute taint, `ipam.py` gives each node its pod network, `podgc.py` sweeps up pods.

Source: https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller.
"""
