"""The texture loss: local patterns are to occur as often as in the target, wherever they stand.

The features of all cells, taken as a cloud of points, are moved onto those of the target
by optimal transport, of which sorted projections onto random directions give the cost (sliced
Wasserstein distance; Heitz et al. 2021, "A Sliced Wasserstein Loss for Neural Texture
Synthesis"). Features come from fixed filters, or from VGG16 where its weights are at hand.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import perceive
from pinca_lib.channels import FIELDS
from pinca_lib.errors import InputError
from pinca_lib.evaluation.metrics import declare_torchvision_operators

Features = Callable[[Tensor], list[Tensor]]

DIRECTIONS = 32
LEVELS = 4
VGG_LAYERS = (1, 6, 11, 18, 25)  # of torchvision's vgg16().features, each a ReLU
VGG_FILE = "vgg16-397923af.pth"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def texture_loss(state: Tensor, target: Tensor, features: Features) -> Tensor:
    """Sum over feature maps of the transport cost from prediction to target, a scalar."""
    predicted, wanted = features(state[:, FIELDS]), features(target[:, FIELDS])
    return sum(
        sliced_transport(a.flatten(2), b.flatten(2)) for a, b in zip(predicted, wanted, strict=True)
    )


def sliced_transport(cloud: Tensor, target: Tensor, directions: int = DIRECTIONS) -> Tensor:
    """Mean squared distance between sorted projections of two point clouds.

    Parameters
    ----------
    cloud, target : Tensor of shape (B, K, N)
        N points in K dimensions, per sample.
    directions : int
        Random unit vectors to project on, drawn from torch's generator.
    """
    axes = torch.randn(cloud.shape[1], directions).to(cloud)
    axes = F.normalize(axes, dim=0)  # (K, directions)
    ours, theirs = (torch.einsum("bkn,kd->bdn", x, axes).sort(-1).values for x in (cloud, target))
    return (ours - theirs).square().mean()


def filter_features(fields: Tensor) -> list[Tensor]:
    """Return the automaton's four filters of every field, on a pyramid of halved grids.

    Parameters
    ----------
    fields : Tensor of shape (B, 5, H, W)

    Returns
    -------
    list of Tensor of shape (B, 20, H / 2^level, W / 2^level)
    """
    pyramid = [perceive(fields)]
    while len(pyramid) < LEVELS and min(fields.shape[-2:]) >= 8:
        fields = F.avg_pool2d(fields, 2)
        pyramid.append(perceive(fields))
    return pyramid


def vgg_features() -> Features:
    """Return VGG16's features of the fields in groups of three, as the experiment used them.

    Groups are (u, v, speed) and (speed, TKE, flux); a map of each of five ReLU layers and the
    image itself belongs to every group.

    Raises
    ------
    InputError
        If the weights are not in torch's hub folder. They are never downloaded from here.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
    if not path.is_file():
        raise InputError(
            f"init_loss='vgg' needs {VGG_FILE} in {path.parent}: fetch it once with "
            "torchvision.models.vgg16(weights='DEFAULT'), or choose 'filters' or 'pixel'"
        )
    declare_torchvision_operators()
    from torchvision.models import vgg16  # only here: it takes a second to import

    network = vgg16()
    network.load_state_dict(torch.load(path, weights_only=True))
    layers = network.features[: VGG_LAYERS[-1] + 1].eval().requires_grad_(False)
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))

    def features(fields: Tensor) -> list[Tensor]:
        groups = torch.cat([fields[:, :3], fields[:, 2:]])  # (2 B, 3, H, W)
        layers.to(groups.device)
        x = (groups + 0.5 - mean.to(groups)) / std.to(groups)
        maps = [groups]
        for index, layer in enumerate(layers):
            # In-place ReLUs would overwrite maps that the backward pass still needs.
            x = F.relu(x) if isinstance(layer, torch.nn.ReLU) else layer(x)
            if index in VGG_LAYERS:
                maps.append(x)
        return maps

    return features
