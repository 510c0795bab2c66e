"""Objects in Kubernetes' protobuf encoding: reading what typed clients send, and writing it.

An object travels as `k8s\\0` and a runtime.Unknown message, which names apiVersion and kind and holds
the object's own message. Everything else of Skiff works on the JSON object; so decoding gives the object
that the client's JSON encoder would have sent. The schemas give names and types, `numbers/` the field
numbers. Nothing here is loaded before the first protobuf body comes.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from skiff.api.protobuf.decode import UnknownKind, known
from skiff.api.protobuf.decode import decode_envelope as decode
from skiff.api.protobuf.encode import encode_envelope as encode
from skiff.api.protobuf.layout import Malformed

__all__ = ["Malformed", "UnknownKind", "decode", "encode", "known"]
