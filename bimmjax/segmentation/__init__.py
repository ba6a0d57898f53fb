"""Labels of volumes of any size: from a fitted model, alone or in a Markov random field."""

from bimmjax.segmentation._potts import neighbour_weights as neighbour_weights
from bimmjax.segmentation._potts import potts_energy as potts_energy
from bimmjax.segmentation._potts import potts_evidence as potts_evidence
from bimmjax.segmentation._potts import potts_labels as potts_labels
from bimmjax.segmentation._potts import potts_probabilities as potts_probabilities
from bimmjax.segmentation._rule import NO_LABEL as NO_LABEL
from bimmjax.segmentation._segment import mrf_weight as mrf_weight
from bimmjax.segmentation._segment import phase_probability as phase_probability
from bimmjax.segmentation._segment import segment as segment
