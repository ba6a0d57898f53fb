"""Pictures of a volume and of its fit: matplotlib figures, made without any global state."""

from bimmjax.plot._edge import edge as edge
from bimmjax.plot._intensity import intensity as intensity
from bimmjax.plot._joint import joint as joint
from bimmjax.plot._slices import slices as slices
