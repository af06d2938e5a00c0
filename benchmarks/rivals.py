"""What people would use instead: a U-Net (MONAI) and a Fourier neural operator (neuraloperator).

Both see what the automaton sees of a city, but for its coordinates, which mean nothing where cases
are shifted along their period; both work in the same units and end on the same bounds. They give
the field at once, with no steps in between.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pinca_lib.automaton import bounded, heading, rotated
from pinca_lib.channels import BASE, FLUX_Y, GEO_MASK, PREDICTED, WIND_Y
from pinca_lib.physics import ALPHA

GIVEN = slice(GEO_MASK, WIND_Y + 1)  # mask, heights, wind
NAMES = ("unet", "fno")
COARSEST = 16  # cells a side of a cell of the U-Net's coarsest grid; else it is not periodic


class Rival(nn.Module):
    """A network from mask, heights and wind to channels 6-11.

    Parameters
    ----------
    name : str
        ``"unet"`` or ``"fno"``.
    units : Tensor of shape (>= 12,), or with ``follows_wind`` (>= 13,)
        Of the channels, as in ``CA``.
    alpha : float
        Bound of |<u'w'>| / TKE that is kept exactly, with the two others.
    follows_wind : bool
        Take what the network gives of vectors as along and across the wind, and turn it.
    **options
        Of the network, in place of the defaults: ``features`` or ``dropout`` of MONAI's
        ``BasicUNet``; what neuraloperator's ``FNO`` takes.

    Raises
    ------
    ImportError
        If the network's library is not installed: ``pip install -e .[rivals]``.
    """

    def __init__(
        self,
        name: str,
        units: Tensor,
        alpha: float = ALPHA,
        follows_wind: bool = False,
        **options,
    ):
        super().__init__()
        self.name, self.alpha, self.follows_wind = name, alpha, follows_wind
        # Of <v'w'>, too, where the flux is to be turned.
        self.guessed = slice(PREDICTED.start, FLUX_Y + 1 if follows_wind else PREDICTED.stop)
        sizes = GIVEN.stop - GIVEN.start, self.guessed.stop - self.guessed.start
        self.network = {"unet": _unet, "fno": _fno}[name](*sizes, **options)
        self.register_buffer("units", units[: self.guessed.stop].view(-1, 1, 1))

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        """Return the tensors alone: neuraloperator adds functions, which no checkpoint may hold."""
        found = super().state_dict(*args, **kwargs)
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def forward(self, state: Tensor) -> Tensor:
        """Predict channels 6-11 of states (B, >= 6, H, W): (B, 12, H, W).

        Raises
        ------
        ValueError
            If a U-Net is given a grid whose sides are not multiples of ``COARSEST``.
        """
        height, width = state.shape[-2:]
        if self.name == "unet" and (height % COARSEST or width % COARSEST):
            raise ValueError(f"{height}×{width} cells: the U-Net wants multiples of {COARSEST}")
        base, air = state[:, BASE], state[:, GEO_MASK, None]
        found = self.network(state[:, GIVEN] / self.units[GIVEN]) * self.units[self.guessed] * air
        found = torch.cat([base, found], dim=1)
        if self.follows_wind:
            found = rotated(found, heading(base), 1)
        return torch.cat([base, bounded(found[:, PREDICTED], air, self.alpha)], dim=1)


def _unet(
    given: int,
    guessed: int,
    features: Sequence[int] = (32, 32, 64, 128, 256, 32),
    dropout: float = 0.0,
) -> nn.Module:
    from monai.networks.nets import BasicUNet

    network = BasicUNet(
        spatial_dims=2,
        in_channels=given,
        out_channels=guessed,
        features=features,
        norm=("group", {"num_groups": 4}),
        act="gelu",
        dropout=dropout,
    )
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            layer.padding_mode = "circular"  # as the domain is
    return network


def _fno(given: int, guessed: int, **options) -> nn.Module:
    from neuralop.models import FNO

    usual = {"n_modes": (24, 24), "hidden_channels": 48, "n_layers": 4}
    return FNO(
        in_channels=given,
        out_channels=guessed,
        positional_embedding=None,
        **usual | options,
    )
