"""The four mixture models as pure functions on a pytree of parameters.

Each module has the same verbs: `init`, `log_prob`, `bin_probability`, `sample`.
"""

from bimmjax._core.quadrature import Quadrature as Quadrature
from bimmjax._core.quadrature import gauss_legendre as gauss_legendre
from bimmjax._core.quadrature import monte_carlo as monte_carlo
from bimmjax.models import bimm1d as bimm1d
from bimmjax.models import bimm2d as bimm2d
from bimmjax.models import gmm as gmm
from bimmjax.models import pvmm as pvmm
from bimmjax.models._params import Params as Params
from bimmjax.models._params import Unconstrained as Unconstrained
from bimmjax.models._params import from_unconstrained as from_unconstrained
from bimmjax.models._params import phase_pairs as phase_pairs
from bimmjax.models._params import to_unconstrained as to_unconstrained
