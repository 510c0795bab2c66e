"""PodSecurity: the Pod Security Standards, as namespaces' labels ask for them.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (what is checked) and
https://kubernetes.io/docs/concepts/security/pod-security-admission/ (labels, modes, exemptions).
"""

from skiff.server.admission.pod_security.rule import PodSecurity

__all__ = ["PodSecurity"]
