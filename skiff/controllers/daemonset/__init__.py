"""DaemonSets: one pod on every node that the template's pods may run on.

`plan.py` says what each node needs and how an update proceeds (pure), `run.py` reconciles.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/.
"""
