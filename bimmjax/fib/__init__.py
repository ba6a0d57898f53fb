"""FIB-SEM: from a raw stack of milled slices to an isotropic volume of labels."""

from bimmjax.fib._fill.article_network import InpaintNetwork as InpaintNetwork
from bimmjax.fib._fill.fill import fill as fill
from bimmjax.fib._fill.fill import fill_distance as fill_distance
from bimmjax.fib._fill.fill import fill_learned as fill_learned
from bimmjax.fib._fill.fill import fill_nearest as fill_nearest
from bimmjax.fib._fill.fill import fill_spline as fill_spline
from bimmjax.fib._fill.slice_network import SliceNetwork as SliceNetwork
from bimmjax.fib._fill.trained import load_inpainting as load_inpainting
from bimmjax.fib._fill.training import train_inpainting as train_inpainting
from bimmjax.fib._reposition import check_grid_spacing as check_grid_spacing
from bimmjax.fib._reposition import reposition as reposition
