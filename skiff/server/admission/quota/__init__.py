"""ResourceQuota: a namespace uses no more than its quotas allow.

`usage.py` says what an object uses, `ledger.py` keeps account of each namespace that has quotas,
`rule.py` refuses what goes over, `status.py` writes what is used into the quotas' status.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/.
"""

from skiff.server.admission.quota.ledger import Ledger
from skiff.server.admission.quota.rule import ResourceQuota
from skiff.server.admission.quota.status import QuotaStatus

__all__ = ["Ledger", "QuotaStatus", "ResourceQuota"]
