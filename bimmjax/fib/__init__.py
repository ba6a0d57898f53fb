"""From a raw FIB-SEM stack to a measured structure: thickness of slices, and clean-up."""

from bimmjax.fib._thickness.file import read_thickness as read_thickness
from bimmjax.fib._thickness.images import thickness_from_images as thickness_from_images
from bimmjax.fib._thickness.result import Thickness as Thickness
from bimmjax.fib._thickness.result import even_thickness as even_thickness
from bimmjax.fib._thickness.result import fit_gamma as fit_gamma
