"""Objects in Kubernetes' protobuf encoding, as client-go's built-in clients send them: to plain JSON.

Read only: the server answers in JSON, which every such client takes as its second choice.
"""

from skiff.api.protobuf.decode import ProtobufError, decode

__all__ = ["ProtobufError", "decode"]
