"""Taints and tolerations: whether a pod may be where a taint is. Pure.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from collections.abc import Iterable

from skiff.api.views.core import Taint, Toleration


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether the toleration covers the taint. A key or an effect that it leaves out covers all."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.operator in ("", "Equal") and toleration.value == taint.value


def tolerated(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Whether some toleration covers the taint."""
    return any(tolerates(t, taint) for t in tolerations)
