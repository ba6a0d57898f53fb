"""Numbers that describe the geometry of labelled volumes, and labels against the truth."""

from bimmjax.descriptors._anisotropy import curve_anisotropy as curve_anisotropy
from bimmjax.descriptors._anisotropy import curve_error as curve_error
from bimmjax.descriptors._anisotropy import diameter_anisotropy as diameter_anisotropy
from bimmjax.descriptors._autocorrelation import plane_two_point as plane_two_point
from bimmjax.descriptors._autocorrelation import radial_two_point as radial_two_point
from bimmjax.descriptors._components import Components as Components
from bimmjax.descriptors._components import components as components
from bimmjax.descriptors._confusion import Scores as Scores
from bimmjax.descriptors._confusion import bin_wise_zero_order as bin_wise_zero_order
from bimmjax.descriptors._confusion import confusion_matrix as confusion_matrix
from bimmjax.descriptors._confusion import counts_by_grey_value as counts_by_grey_value
from bimmjax.descriptors._confusion import evaluate as evaluate
from bimmjax.descriptors._confusion import scores as scores
from bimmjax.descriptors._confusion import zero_order as zero_order
from bimmjax.descriptors._crofton import crofton_areas as crofton_areas
from bimmjax.descriptors._crofton import crossing_areas as crossing_areas
from bimmjax.descriptors._describe import Description as Description
from bimmjax.descriptors._describe import describe as describe
from bimmjax.descriptors._lines import LineCounts as LineCounts
from bimmjax.descriptors._lines import line_counts as line_counts
from bimmjax.descriptors._marching import marching_cubes_areas as marching_cubes_areas
