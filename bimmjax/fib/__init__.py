"""FIB-SEM: from a raw stack of milled slices to an isotropic volume of labels."""

from bimmjax.fib._fill.fill import fill as fill
from bimmjax.fib._reposition import check_grid_spacing as check_grid_spacing
from bimmjax.fib._reposition import reposition as reposition
