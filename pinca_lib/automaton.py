"""The neural cellular automaton: *perceive* the neighbourhood, then *update* the cell.

One step of the rule, for the state s of shape (B, C, H, W) on a periodic grid:

    p = [s, Sobel_x * s, Sobel_y * s, Laplacian * s]     perceive, (B, 4 C, H, W)
    d = W2 relu(W1 p + b1)                               update,   (B, C, H, W)
    s <- s + air * d        on the channels that the rule may write (6 and up)

With 24 channels and 96 hidden units it has 11,616 parameters; with 12 channels, 5,856.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinca_lib.channels import BASE, DYNAMIC, GEO_MASK, STATE_COUNT

IDENTITY = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
SOBEL_X = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])  # 8 dx d/dx
LAPLACIAN = torch.tensor([[1.0, 2.0, 1.0], [2.0, -12.0, 2.0], [1.0, 2.0, 1.0]])
FILTERS = torch.stack([IDENTITY, SOBEL_X, SOBEL_X.T, LAPLACIAN])  # (4, 3, 3)


def perceive(state: Tensor) -> Tensor:
    """Apply the four fixed filters to every channel, with periodic edges.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)

    Returns
    -------
    Tensor of shape (B, 4 C, H, W)
        Channel-major: entry 4 c + f is filter f of channel c.
    """
    batch, channels, height, width = state.shape
    planes = state.reshape(batch * channels, 1, height, width)
    planes = F.pad(planes, [1, 1, 1, 1], mode="circular")
    filtered = F.conv2d(planes, FILTERS[:, None].to(state))  # (B C, 4, H, W)
    return filtered.reshape(batch, channels * len(FILTERS), height, width)


class CA(nn.Module):
    """The rule. A new one is the identity, because its last layer starts at zero.

    Parameters
    ----------
    channels : int
        Channels C of the state.
    hidden : int
        Width of the hidden layer.

    Notes
    -----
    The layers' names and shapes, ``w1.weight`` (hidden, 4 C, 1, 1), ``w1.bias`` (hidden) and
    ``w2.weight`` (C, hidden, 1, 1), are those of the checkpoints of the original experiment.
    Rows 0-5 of ``w2`` are never used, since the base channels never change.
    """

    def __init__(self, channels: int = STATE_COUNT, hidden: int = 96):
        super().__init__()
        self.w1 = nn.Conv2d(channels * len(FILTERS), hidden, kernel_size=1)
        self.w2 = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)
        nn.init.zeros_(self.w2.weight)

    @property
    def channels(self) -> int:
        """Channels C of the states that the rule works on."""
        return self.w2.out_channels

    def update(self, perception: Tensor) -> Tensor:
        """Turn what a cell perceives, (B, 4 C, H, W), into its increment, (B, C, H, W)."""
        return self.w2(torch.relu(self.w1(perception)))

    def forward(self, state: Tensor) -> Tensor:
        """Advance a state of shape (B, C, H, W) by one step."""
        air = state[:, GEO_MASK, None]  # (B, 1, H, W)
        updated = state + air * self.update(perceive(state))
        return torch.cat([state[:, BASE], updated[:, DYNAMIC]], dim=1)
