"""How a refusal is worded: `pods is forbidden: User "x" cannot list resource "pods" …`.

Source: apiserver `responsewriters.Forbidden` as its answers show.
"""

from skiff.api.errors import Forbidden
from skiff.server.request import RequestInfo
from skiff.server.seams import User


def forbidden(user: User, info: RequestInfo, reason: str = "") -> Forbidden:
    """The 403 for `user` doing `info`."""
    if not info.is_resource:
        who = f'User "{user.name}" cannot {info.verb} path "{info.path}"'
        message = f"forbidden: {who}" + (f": {reason}" if reason else "")
        return Forbidden(message)
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    where = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    text = (
        f'User "{user.name}" cannot {info.verb} resource "{resource}"'
        f' in API group "{info.group}" {where}'
    )
    if reason:
        text += f": {reason}"
    plural = f"{info.resource}.{info.group}" if info.group else info.resource
    subject = f'{plural} "{info.name}"' if info.name else plural
    return Forbidden(
        f"{subject} is forbidden: {text}", group=info.group, kind=info.resource, name=info.name
    )
