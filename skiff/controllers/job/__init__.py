"""Jobs: pods run until enough of them have succeeded.

`indexes.py` (sets of completion indexes as text), `policy.py` (what a failed pod means, when enough
have succeeded) and `account.py` (counting each ended pod once, and the verdict) are pure; `run.py`
reconciles; `ttl.py` deletes finished jobs after their time.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/.
"""
