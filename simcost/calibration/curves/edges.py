"""Where a feature of a surface jumps, as padding does where a bucket of rows ends, its time does not fall from one row to the next.

Rows on both sides of an edge are rare: what the surface says of the jump comes from rows far inside two buckets, and it may be a fall, which no
kernel shows, because an engine may always pad. Such a fall is added to the surface again and fades until the next edge, so that the time at both
edges stays what it was and the fall is spread over the bucket. From one row to two there is no bucket over which to spread it: there the fall is
taken off the one row (a share of -1). Most likely to be wrong: a kernel that is chosen by rows alone and is faster from its first row on.
"""

from __future__ import annotations

import numpy as np

from simcost.calibration.curves.residual import Residual
from simcost.calibration.family import At
from simcost.num import Num


def risen_over(surface: Residual, at: At) -> tuple[Num, Num, Num]:
    """`surface.evaluate` at points, its mean without falls at the edges below them: (mean, local error, distance), each [n], or one
    number each of one point."""
    edges, points = at.edges, np.atleast_2d(at.features)
    if edges is None:
        mean, local, far = surface.evaluate(points)
    else:
        n, e = len(points), len(edges.before)
        together = surface.evaluate(np.concatenate([points, edges.before, edges.after]))
        (mean, local, far), steps = (values[:n] for values in together), together[0][n:]
        fall = np.maximum(steps[:e] - steps[e:], 0.0)
        mean = mean + (fall if edges.which is None else fall[edges.which]) * edges.share
    if at.features.ndim > 1:
        return mean, local, far
    return float(mean[0]), float(local[0]), float(far[0])
