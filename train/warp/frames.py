"""Contact frames as MuJoCo lays them: the first tangent of a capsule on a plane runs along the capsule, however steep it stands.

MuJoCo Warp 4.0.0 falls back to a fixed axis where the capsule is steeper than 60 degrees (its ``plane_capsule``); MuJoCo 4.0.0
projects the axis always (measured: axis (0.105, -0.180, 0.978), tangent (0.503, -0.864, 0)). The friction pyramid is not
round, so turning the frame changes the force: Ant-v5's legs felt it, by up to a quarter of the acceleration.
"""

from __future__ import annotations

from typing import Any

import warp as wp

PLANE, CAPSULE = 0, 3
"""``mjtGeom`` values; a contact names the lower one first."""


@wp.kernel(enable_backward=False)
def _align(
    count: wp.array[int],
    geoms: wp.array[wp.vec2i],
    worlds: wp.array[int],
    geom_type: wp.array[int],
    geom_xmat: wp.array2d[wp.mat33],
    frames: wp.array[wp.mat33],
):
    contact = wp.tid()
    if contact >= count[0]:
        return
    first = geoms[contact][0]
    second = geoms[contact][1]
    if first < 0 or second < 0:
        return
    if geom_type[first] != wp.static(PLANE) or geom_type[second] != wp.static(CAPSULE):
        return
    turned = geom_xmat[worlds[contact], second]
    axis = wp.vec3(turned[0, 2], turned[1, 2], turned[2, 2])
    frame = frames[contact]
    normal = wp.vec3(frame[0, 0], frame[0, 1], frame[0, 2])
    along = axis - normal * wp.dot(normal, axis)
    if wp.length(along) < 1.0e-6:
        return
    along = wp.normalize(along)
    across = wp.cross(normal, along)
    frames[contact] = wp.mat33(
        normal[0], normal[1], normal[2], along[0], along[1], along[2], across[0], across[1], across[2]
    )  # fmt: skip


def align_capsules(model: Any, data: Any) -> None:
    """The callback that MuJoCo Warp runs between collision and constraints: rewrites ``data.contact.frame`` in place."""
    contact = data.contact
    inputs = [data.nacon, contact.geom, contact.worldid, model.geom_type, data.geom_xmat, contact.frame]
    wp.launch(_align, dim=contact.frame.shape[0], inputs=inputs, device=contact.frame.device)
