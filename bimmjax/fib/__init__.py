"""From a raw FIB-SEM stack to a measured structure: thickness of slices, and clean-up."""

from bimmjax.fib._clean.brightness import Equalised as Equalised
from bimmjax.fib._clean.brightness import equalise_brightness as equalise_brightness
from bimmjax.fib._clean.curtains import remove_curtains as remove_curtains
from bimmjax.fib._clean.denoise import denoise as denoise
from bimmjax.fib._thickness.file import read_thickness as read_thickness
from bimmjax.fib._thickness.images import thickness_from_images as thickness_from_images
from bimmjax.fib._thickness.result import Thickness as Thickness
from bimmjax.fib._thickness.result import even_thickness as even_thickness
from bimmjax.fib._thickness.result import fit_gamma as fit_gamma
from bimmjax.fib._thickness.ruler import thickness_from_ruler as thickness_from_ruler
