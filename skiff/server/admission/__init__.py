"""Admission: what happens to a write between authorization and storage, beyond defaults and validation.

`chain.py` runs the rules in the order of the one table in `table.py`; each rule is one file. To add
one: write the file, add the row at the place that its neighbours' reasons allow.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/.
"""
