"""From raw FIB-SEM stacks to a measured structure.

Registration, thickness, clean-up, repositioning, filled gaps; `reconstruct` does all in order.
"""

from bimmjax.fib._clean.brightness import Equalised as Equalised
from bimmjax.fib._clean.brightness import equalise_brightness as equalise_brightness
from bimmjax.fib._clean.curtains import remove_curtains as remove_curtains
from bimmjax.fib._clean.denoise import denoise as denoise
from bimmjax.fib._fill.article_network import InpaintNetwork as InpaintNetwork
from bimmjax.fib._fill.fill import fill as fill
from bimmjax.fib._fill.fill import fill_distance as fill_distance
from bimmjax.fib._fill.fill import fill_learned as fill_learned
from bimmjax.fib._fill.fill import fill_nearest as fill_nearest
from bimmjax.fib._fill.fill import fill_spline as fill_spline
from bimmjax.fib._fill.slice_network import SliceNetwork as SliceNetwork
from bimmjax.fib._fill.trained import load_inpainting as load_inpainting
from bimmjax.fib._fill.training import train_inpainting as train_inpainting
from bimmjax.fib._pipeline.plan import Plan as Plan
from bimmjax.fib._pipeline.plan import plan_of as plan_of
from bimmjax.fib._pipeline.reconstruct import Reconstruction as Reconstruction
from bimmjax.fib._pipeline.reconstruct import reconstruct as reconstruct
from bimmjax.fib._pipeline.step import Done as Done
from bimmjax.fib._register.field import common_field as common_field
from bimmjax.fib._register.field import drop_slices as drop_slices
from bimmjax.fib._register.field import move_slices as move_slices
from bimmjax.fib._register.onto import register_onto as register_onto
from bimmjax.fib._register.registration import Registration as Registration
from bimmjax.fib._register.stack import register_stack as register_stack
from bimmjax.fib._register.tilt import untilt as untilt
from bimmjax.fib._register.translation import translation as translation
from bimmjax.fib._reposition import check_grid_spacing as check_grid_spacing
from bimmjax.fib._reposition import reposition as reposition
from bimmjax.fib._surroundings import surroundings as surroundings
from bimmjax.fib._thickness.file import read_thickness as read_thickness
from bimmjax.fib._thickness.images import thickness_from_images as thickness_from_images
from bimmjax.fib._thickness.result import Thickness as Thickness
from bimmjax.fib._thickness.result import even_thickness as even_thickness
from bimmjax.fib._thickness.result import fit_gamma as fit_gamma
from bimmjax.fib._thickness.ruler import thickness_from_ruler as thickness_from_ruler
