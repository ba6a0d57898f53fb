"""Volumes: the one package that touches the disk. Lazy, streamed in blocks, bounded in memory."""

from bimmjax.volumes._collection import new_collection as new_collection
from bimmjax.volumes._convert import convert as convert
from bimmjax.volumes._crop import crop as crop
from bimmjax.volumes._gradient import gradient_magnitude as gradient_magnitude
from bimmjax.volumes._grid import Grid as Grid
from bimmjax.volumes._grid import sample_blocks as sample_blocks
from bimmjax.volumes._histogram import JointHistogram as JointHistogram
from bimmjax.volumes._histogram import joint_histogram as joint_histogram
from bimmjax.volumes._info import info as info
from bimmjax.volumes._open import open_volume as open_volume
from bimmjax.volumes._stream import Block as Block
from bimmjax.volumes._stream import stream as stream
from bimmjax.volumes._stream import suggest_block as suggest_block
from bimmjax.volumes._volume import Volume as Volume
from bimmjax.volumes._written import write_resumably as write_resumably
