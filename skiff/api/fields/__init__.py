"""Who owns which field: field sets (fieldsV1), managedFields, server-side apply.

Theory: a field set is kept in the very form that Kubernetes stores, a tree of plain dicts
(`{"f:spec": {"f:replicas": {}}}`), so that nothing is decoded or encoded on the way. `sets` has the
algebra on these trees, `types` what a schema means for ownership, `extract` the set of an object,
`compare` the sets by which two objects differ, `merge` and `remove` what apply does to objects.
On top of them, `managed` keeps metadata.managedFields for create, update and patch, and `apply` is
server-side apply. All is pure; trees are shared freely and never changed in place.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and KEP-555.
"""
