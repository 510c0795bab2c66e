"""Deployments: a template rolled out over ReplicaSets, one ReplicaSet a revision.

`plan.py` holds the sizes (pure), `revisions.py` annotations and history (pure), `progress.py` the
status (pure), `run.py` the reconciler.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/.
"""
