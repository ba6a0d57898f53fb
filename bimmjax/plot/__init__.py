"""Pictures of volumes, fits, maps and labels: matplotlib figures, made without any global state."""

from bimmjax.plot._adaptation import adaptation as adaptation
from bimmjax.plot._adaptation import adapted as adapted
from bimmjax.plot._backscatter import backscatter as backscatter
from bimmjax.plot._comparison import annotation as annotation
from bimmjax.plot._comparison import comparison as comparison
from bimmjax.plot._comparison import confusions as confusions
from bimmjax.plot._comparison import learned as learned
from bimmjax.plot._comparison import predictions as predictions
from bimmjax.plot._comparison import swept as swept
from bimmjax.plot._correlations import confusion as confusion
from bimmjax.plot._correlations import correlations as correlations
from bimmjax.plot._cross_check import cross_check as cross_check
from bimmjax.plot._edge import edge as edge
from bimmjax.plot._intensity import intensity as intensity
from bimmjax.plot._joint import joint as joint
from bimmjax.plot._maps import map_flags as map_flags
from bimmjax.plot._maps import map_slices as map_slices
from bimmjax.plot._maps_curves import map_histograms as map_histograms
from bimmjax.plot._maps_curves import map_series as map_series
from bimmjax.plot._scan import scan as scan
from bimmjax.plot._segments import segments as segments
from bimmjax.plot._slices import slices as slices
from bimmjax.plot._structures import structure as structure
from bimmjax.plot._training import training as training
