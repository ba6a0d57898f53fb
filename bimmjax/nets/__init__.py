"""Segmentation networks: architectures, losses, data, training, prediction.

Images are (batch, *space, channels), float32; logits (batch, *space, classes), float32.
"""

from bimmjax.nets import losses as losses
from bimmjax.nets._adapt.depth import depth_below as depth_below
from bimmjax.nets._adapt.recipe import AdaptRecipe as AdaptRecipe
from bimmjax.nets._adapt.run import Adapted as Adapted
from bimmjax.nets._adapt.shapes import ShapesKept as ShapesKept
from bimmjax.nets._adapt.shapes import shapes_kept as shapes_kept
from bimmjax.nets._adapt.train import train_paired as train_paired
from bimmjax.nets._adapt.train import train_unpaired as train_unpaired
from bimmjax.nets._adapt.translate import translate as translate
from bimmjax.nets._backbones.pretrained import load_pretrained as load_pretrained
from bimmjax.nets._blocks.convolution import count_parameters as count_parameters
from bimmjax.nets._blocks.norms import freeze_norms as freeze_norms
from bimmjax.nets._build import NETWORKS as NETWORKS
from bimmjax.nets._build import build as build
from bimmjax.nets._compare.classical import CLASSICAL as CLASSICAL
from bimmjax.nets._compare.compare import compare as compare
from bimmjax.nets._compare.result import Comparison as Comparison
from bimmjax.nets._data.normalise import Normalisation as Normalisation
from bimmjax.nets._data.normalise import normalisation as normalisation
from bimmjax.nets._data.split import Split as Split
from bimmjax.nets._data.split import split as split
from bimmjax.nets._network import Network as Network
from bimmjax.nets._network import set_compute_dtype as set_compute_dtype
from bimmjax.nets._networks.deeplab import DeepLabV3Plus as DeepLabV3Plus
from bimmjax.nets._networks.fusion import EarlyFusion as EarlyFusion
from bimmjax.nets._networks.fusion import IntermediateFusion as IntermediateFusion
from bimmjax.nets._networks.fusion import LateFusion as LateFusion
from bimmjax.nets._networks.modular_unet import ModularUNet as ModularUNet
from bimmjax.nets._networks.pspnet import PSPNet as PSPNet
from bimmjax.nets._networks.unet import UNet as UNet
from bimmjax.nets._networks.unet3d import ResUNet3D as ResUNet3D
from bimmjax.nets._networks.unet3d import UNet3D as UNet3D
from bimmjax.nets._networks.unetpp import UNetPlusPlus as UNetPlusPlus
from bimmjax.nets._networks.vnet import VNet as VNet
from bimmjax.nets._networks.xy_unet3d import XYUNet3D as XYUNet3D
from bimmjax.nets._predict.predict import predict as predict
from bimmjax.nets._train.branches import fuse as fuse
from bimmjax.nets._train.folder import read_log as read_log
from bimmjax.nets._train.load import load as load
from bimmjax.nets._train.recipe import Recipe as Recipe
from bimmjax.nets._train.recipe import recipe_of as recipe_of
from bimmjax.nets._train.train import Diverged as Diverged
from bimmjax.nets._train.train import Trained as Trained
from bimmjax.nets._train.train import train as train
