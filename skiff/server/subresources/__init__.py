"""Subresources whose body is not the object itself: scale, binding, eviction.

`status` and the like, which take the object's own kind, are served by the generic verbs; what is no
object at all (log, exec, proxy, token) by connectors.
"""
