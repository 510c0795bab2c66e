"""EndpointSlices: a Service's endpoints in pieces of at most 100.

`plan.py` makes endpoints of pods and packs them into slices (pure), `run.py` reconciles Services
that select pods, `mirror.py` copies hand-made Endpoints into slices.

Source: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/.
"""
