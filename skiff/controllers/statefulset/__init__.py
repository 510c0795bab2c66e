"""StatefulSets: pods with names, claims and an order.

`identity.py` makes pods and claims of an ordinal (pure), `plan.py` says what to do next (pure),
`run.py` reconciles.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/.
"""
