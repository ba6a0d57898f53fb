"""Labels of volumes of any size: from a fitted model, in a Markov random field, or classical."""

from bimmjax.segmentation._blobs import blobs as blobs
from bimmjax.segmentation._blobs import outlier_blobs as outlier_blobs
from bimmjax.segmentation._cross_check import Compared as Compared
from bimmjax.segmentation._cross_check import CrossCheck as CrossCheck
from bimmjax.segmentation._cross_check import cross_check as cross_check
from bimmjax.segmentation._denoise import non_local_means as non_local_means
from bimmjax.segmentation._depth import DepthMap as DepthMap
from bimmjax.segmentation._depth import depth_map as depth_map
from bimmjax.segmentation._growing import grow_seeds as grow_seeds
from bimmjax.segmentation._growing import seeded_region_growing as seeded_region_growing
from bimmjax.segmentation._growing import seeds_from_thresholds as seeds_from_thresholds
from bimmjax.segmentation._kmeans import kmeans as kmeans
from bimmjax.segmentation._otsu import clahe as clahe
from bimmjax.segmentation._otsu import clahe_otsu as clahe_otsu
from bimmjax.segmentation._otsu import otsu as otsu
from bimmjax.segmentation._otsu import otsu_thresholds as otsu_thresholds
from bimmjax.segmentation._potts import neighbour_weights as neighbour_weights
from bimmjax.segmentation._potts import potts_energy as potts_energy
from bimmjax.segmentation._potts import potts_evidence as potts_evidence
from bimmjax.segmentation._potts import potts_labels as potts_labels
from bimmjax.segmentation._potts import potts_probabilities as potts_probabilities
from bimmjax.segmentation._rule import NO_LABEL as NO_LABEL
from bimmjax.segmentation._segment import mrf_weight as mrf_weight
from bimmjax.segmentation._segment import phase_probability as phase_probability
from bimmjax.segmentation._segment import segment as segment
from bimmjax.segmentation._spatial_kmeans import spatial_kmeans as spatial_kmeans
