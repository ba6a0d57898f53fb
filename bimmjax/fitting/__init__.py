"""Fits of the mixture models to volumes: by all the data, or as the paper did it."""

from bimmjax.fitting._fit import fit as fit
from bimmjax.fitting._minibatch import Schedule as Schedule
from bimmjax.fitting._result import Fit as Fit
from bimmjax.fitting._result import params_of as params_of
