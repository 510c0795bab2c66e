"""Kubernetes' protobuf encoding of objects: what newer clients send as request bodies.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding.
"""
