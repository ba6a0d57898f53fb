"""Simulated structures and their images, with their truth.

Fields and image formation are pure, jitted JAX functions with explicit keys; the true
interface areas are measured on the host.
"""

from bimmjax.sim._artificial import Artificial as Artificial
from bimmjax.sim._artificial import artificial_volume as artificial_volume
from bimmjax.sim._body import Body as Body
from bimmjax.sim._body import Truth as Truth
from bimmjax.sim._body import body_image as body_image
from bimmjax.sim._curtains import curtains as curtains
from bimmjax.sim._dose import add_shot_noise as add_shot_noise
from bimmjax.sim._dose import dose_electrons as dose_electrons
from bimmjax.sim._dose import poisson as poisson
from bimmjax.sim._drift import brightness as brightness
from bimmjax.sim._drift import drift as drift
from bimmjax.sim._drift import shift_slices as shift_slices
from bimmjax.sim._edges import blur_edges as blur_edges
from bimmjax.sim._fibres import fibre_composite as fibre_composite
from bimmjax.sim._fields import gaussian_field as gaussian_field
from bimmjax.sim._fields import gaussian_field_area as gaussian_field_area
from bimmjax.sim._imaging import add_noise as add_noise
from bimmjax.sim._imaging import blur as blur
from bimmjax.sim._imaging import image_of as image_of
from bimmjax.sim._imaging import noise_correlation as noise_correlation
from bimmjax.sim._imaging import to_integers as to_integers
from bimmjax.sim._instrument import Instrument as Instrument
from bimmjax.sim._instrument import Recording as Recording
from bimmjax.sim._instrument import instrument as instrument
from bimmjax.sim._labelled import Labelled as Labelled
from bimmjax.sim._labelled import LabelledVolume as LabelledVolume
from bimmjax.sim._labelled import label_structure as label_structure
from bimmjax.sim._level_bodies import contest_body as contest_body
from bimmjax.sim._level_bodies import field_body as field_body
from bimmjax.sim._level_bodies import gyroid_body as gyroid_body
from bimmjax.sim._level_bodies import mask_body as mask_body
from bimmjax.sim._level_bodies import sheet_body as sheet_body
from bimmjax.sim._level_bodies import structure_body as structure_body
from bimmjax.sim._object_bodies import fibre_body as fibre_body
from bimmjax.sim._object_bodies import shell_body as shell_body
from bimmjax.sim._object_bodies import sphere_body as sphere_body
from bimmjax.sim._packed import packed_spheres as packed_spheres
from bimmjax.sim._pores import random_pores as random_pores
from bimmjax.sim._ruler import Ruler as Ruler
from bimmjax.sim._ruler import RulerReading as RulerReading
from bimmjax.sim._ruler import draw_ruler as draw_ruler
from bimmjax.sim._ruler import make_ruler as make_ruler
from bimmjax.sim._ruler import read_ruler as read_ruler
from bimmjax.sim._self_similar import self_similar as self_similar
from bimmjax.sim._slicing import cut_slices as cut_slices
from bimmjax.sim._slicing import draw_positions as draw_positions
from bimmjax.sim._slicing import draw_thickness as draw_thickness
from bimmjax.sim._slicing import slice_positions as slice_positions
from bimmjax.sim._structures import Structure as Structure
from bimmjax.sim._structures import gaussian_structure as gaussian_structure
from bimmjax.sim._structures import structure_labels as structure_labels
from bimmjax.sim._truth import expected_interface_areas as expected_interface_areas
from bimmjax.sim._truth import interface_areas as interface_areas
from bimmjax.sim._wave_volumes import hierarchical_wave as hierarchical_wave
from bimmjax.sim._wave_volumes import hierarchical_wave_volume as hierarchical_wave_volume
from bimmjax.sim._wave_volumes import levelled_wave_volume as levelled_wave_volume
from bimmjax.sim._wave_volumes import ligament_wavelength as ligament_wavelength
from bimmjax.sim._waves import Waves as Waves
from bimmjax.sim._waves import draw_waves as draw_waves
from bimmjax.sim._waves import levelled_wave as levelled_wave
from bimmjax.sim._waves import wave_field as wave_field
from bimmjax.sim._waves import wave_surface_density as wave_surface_density
