"""Parameter maps: thousands of local fits of one volume, or of a series of volumes."""

from bimmjax.maps._flags import MEANING as MEANING
from bimmjax.maps._flags import Flag as Flag
from bimmjax.maps._map import map_fits as map_fits
from bimmjax.maps._maps import Maps as Maps
from bimmjax.maps._maps import open_maps as open_maps
from bimmjax.maps._profile import Profile as Profile
from bimmjax.maps._profile import profile as profile
