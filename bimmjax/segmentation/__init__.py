"""Labels from a fitted model: maximum likelihood, voxel by voxel, of volumes of any size."""

from bimmjax.segmentation._segment import NO_LABEL as NO_LABEL
from bimmjax.segmentation._segment import phase_probability as phase_probability
from bimmjax.segmentation._segment import segment as segment
