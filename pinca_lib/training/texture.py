"""The texture loss: it compares how often local patterns occur, not where they are.

The feature vectors of all cells form a cloud of points. The loss is the cost of the optimal
transport from the predicted cloud to that of the target. It is computed from sorted projections
onto random directions (sliced Wasserstein distance; Heitz et al. 2021, "A Sliced Wasserstein Loss
for Neural Texture Synthesis"). The features come from fixed filters, or from VGG16 if its weights
are on this machine.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import perceive
from pinca_lib.channels import FIELDS
from pinca_lib.errors import InputError
from pinca_lib.evaluation.scaled_metrics import declare_torchvision_operators

Features = Callable[[Tensor], list[Tensor]]

DIRECTIONS = 32  # number of random projections
LEVELS = 4  # of the pyramid of grids, each half as fine as the one before
VGG_LAYERS = (1, 6, 11, 18, 25)  # indices into torchvision's vgg16().features; each is a ReLU
VGG_FILE = "vgg16-397923af.pth"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def texture_loss(state: Tensor, target: Tensor, features: Features) -> Tensor:
    """Return the transport cost from prediction to target, summed over the feature maps.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
    target : Tensor of shape (B, >= 11, H, W)
    features : callable
        Turns fields (B, 5, H, W) into a list of feature maps.

    Returns
    -------
    Tensor, scalar
    """
    pairs = zip(features(state[:, FIELDS]), features(target[:, FIELDS]), strict=True)
    costs = (sliced_transport(ours.flatten(2), theirs.flatten(2)) for ours, theirs in pairs)
    return sum(costs, state.new_zeros(()))


def sliced_transport(cloud: Tensor, target: Tensor, directions: int = DIRECTIONS) -> Tensor:
    """Return the mean squared distance between sorted projections of two point clouds.

    Parameters
    ----------
    cloud, target : Tensor of shape (B, K, N)
        For each sample, N points in K dimensions.
    directions : int
        Number of random unit vectors to project on. They are drawn from torch's generator.
    """
    axes = torch.randn(cloud.shape[1], directions).to(cloud)
    axes = F.normalize(axes, dim=0)  # (K, directions)
    ours, theirs = (torch.einsum("bkn,kd->bdn", x, axes).sort(-1).values for x in (cloud, target))
    return (ours - theirs).square().mean()


def filter_features(fields: Tensor) -> list[Tensor]:
    """Return what the automaton perceives of every field, on a pyramid of grids.

    Parameters
    ----------
    fields : Tensor of shape (B, 5, H, W)

    Returns
    -------
    list of Tensor of shape (B, 20, H / 2^level, W / 2^level)
        Four filters of five fields. There are ``LEVELS`` levels, or fewer if a grid would have
        fewer than 4 cells on a side.
    """
    pyramid = [perceive(fields)]
    while len(pyramid) < LEVELS and min(fields.shape[-2:]) >= 8:
        fields = F.avg_pool2d(fields, 2)
        pyramid.append(perceive(fields))
    return pyramid


def vgg_features() -> Features:
    """Return a function that computes VGG16 features of fields, as in the original experiment.

    VGG16 takes images of three channels. Two groups of fields serve as images: (u, v, speed) and
    (speed, TKE, flux). The feature maps are these images and the outputs of five ReLU layers.

    Returns
    -------
    callable
        Turns fields (B, 5, H, W) into a list of six maps (2 B, K, H', W').

    Raises
    ------
    InputError
        If the weights are not in torch's hub folder. This function never downloads them.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
    if not path.is_file():
        raise InputError(
            f"init_loss='vgg' needs {VGG_FILE} in {path.parent}: download it once with "
            "torchvision.models.vgg16(weights='DEFAULT'), or choose 'filters' or 'pixel'"
        )
    declare_torchvision_operators()
    from torchvision.models import vgg16  # imported only if used: it takes a second

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
