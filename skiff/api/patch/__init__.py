"""The patches that clients send: JSON patch, JSON merge patch, strategic merge patch.

Each is a pure function from an object and a decoded patch to a new object. The result shares
nothing with the object that went in, so both can go on to be changed; nor does it share anything
with the patch, which may be applied again after a conflict. Server-side apply is `api.fields.apply`.
"""

from skiff.api.patch.json import apply as json_patch
from skiff.api.patch.merge import apply as merge_patch
from skiff.api.patch.strategic import apply as strategic_patch

__all__ = ["json_patch", "merge_patch", "strategic_patch"]
