"""The experiment's definitions, written as plainly as they can be: what the library must equal."""

import numpy as np
import torch
from torch.nn import functional as F

IDENTITY = [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
SOBEL_X = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
SOBEL_Y = [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]
LAPLACIAN = [[1, 2, 1], [2, -12, 2], [1, 2, 1]]


def rule_step(state, weights, follows_wind=False):
    """One step of the rule, cell by cell and filter by filter; float64 in, float64 out.

    One that follows the wind gets every pair of components as a complex number, divided by the
    direction of the wind, and no coordinates; and what it does is the mean of what it does to that
    and of the mirror image of what it does to the mirror image.
    """
    state = np.asarray(state, dtype=np.float64)
    batch, channels, height, width = state.shape
    w1 = weights["w1.weight"].double().numpy()[:, :, 0, 0]
    b1 = weights["w1.bias"].double().numpy()
    w2 = weights["w2.weight"].double().numpy()[:, :, 0, 0]
    new = state.copy()
    vectors = [pair for pair in ((4, 5), (6, 7), (10, 12)) if pair[1] < channels]
    for b in range(batch):
        wind = complex(state[b, 4].mean(), state[b, 5].mean())
        wind = wind / abs(wind) if follows_wind and wind else 1
        for i in range(height):
            for j in range(width):
                seen = []
                for c in range(channels):
                    for kernel in (IDENTITY, SOBEL_X, SOBEL_Y, LAPLACIAN):
                        total = 0.0
                        for di in (-1, 0, 1):
                            for dj in (-1, 0, 1):
                                cell = state[b, c, (i + di) % height, (j + dj) % width]
                                total += kernel[di + 1][dj + 1] * cell
                        seen.append(total)
                seen = np.array(seen).reshape(channels, 4)
                if follows_wind:
                    seen[:2] = 0
                turned = (seen[:, 1] + 1j * seen[:, 2]) / wind
                seen[:, 1], seen[:, 2] = turned.real, turned.imag
                for x, y in vectors:
                    turned = (seen[x] + 1j * seen[y]) / wind
                    seen[x], seen[y] = turned.real, turned.imag
                change = w2 @ np.maximum(w1 @ seen.ravel() + b1, 0.0)
                if follows_wind:
                    odd = [c for c in (5, 7, 12, *range(18, 24)) if c < channels]
                    seen[odd] *= -1
                    seen[:, 2] *= -1
                    image = w2 @ np.maximum(w1 @ seen.ravel() + b1, 0.0)
                    image[odd] *= -1
                    change = (change + image) / 2
                change *= state[b, 2, i, j]
                for x, y in vectors:
                    turned = (change[x] + 1j * change[y]) * wind
                    change[x], change[y] = turned.real, turned.imag
                new[b, 6:, i, j] += change[6:]
    return new


def conv_step(state, weights):
    """One step of the rule in torch, as the experiment's listing composes it: differentiable."""
    filters = torch.tensor([IDENTITY, SOBEL_X, SOBEL_Y, LAPLACIAN], dtype=state.dtype)
    b, c, h, w = state.shape
    planes = F.pad(state.reshape(b * c, 1, h, w), [1, 1, 1, 1], "circular")
    seen = F.conv2d(planes, filters[:, None]).reshape(b, 4 * c, h, w)
    hidden = torch.relu(F.conv2d(seen, weights["w1.weight"], weights["w1.bias"]))
    change = F.conv2d(hidden, weights["w2.weight"]) * state[:, 2:3]
    return torch.cat([state[:, :6], state[:, 6:] + change[:, 6:]], dim=1)


def pixel_gradient(plane, axis):
    """Central differences inside, one-sided at both ends, per cell."""
    plane = np.moveaxis(np.asarray(plane, dtype=np.float64), axis, 0)
    out = np.empty_like(plane)
    out[1:-1] = (plane[2:] - plane[:-2]) / 2
    out[0], out[-1] = plane[1] - plane[0], plane[-1] - plane[-2]
    return np.moveaxis(out, 0, axis)


def continuity(state, extents):
    """du/dx + dv/dy + dw/dz of every cell, (B, H, W)."""
    state = np.asarray(state, dtype=np.float64)
    height, width = state.shape[2:]
    residual = np.empty((len(state), height, width))
    for b, (metres_y, metres_x) in enumerate(extents):
        du_dx = pixel_gradient(state[b, 6], axis=1) / (metres_x / width)
        dv_dy = pixel_gradient(state[b, 7], axis=0) / (metres_y / height)
        residual[b] = du_dx + dv_dy + state[b, 11]
    return residual


def physics_terms(state, extents, alpha=2.25):
    """The four unweighted terms of the physics loss."""
    x = np.asarray(state, dtype=np.float64)
    u, v, speed, tke, flux = (x[:, channel] for channel in range(6, 11))
    return {
        "L_k_neg": np.maximum(-tke, 0).mean(),
        "L_flux": np.maximum(np.abs(flux) - alpha * np.maximum(tke, 0), 0).mean(),
        "L_u_bound": np.maximum(np.sqrt(u**2 + v**2 + 1e-8) - speed, 0).mean(),
        "L_continuity": (continuity(x, extents) ** 2).mean(),
    }


def pi_loss(state, target, extents):
    """1.0 MSE + 10 physics + 0.1 overflow of channels 6-10, differentiable."""
    fields = state[:, 6:11]
    u, v, speed, tke, flux, dwdz = (state[:, channel] for channel in range(6, 12))
    height, width = state.shape[2:]
    physics = torch.relu(-tke).mean()
    physics = physics + torch.relu(flux.abs() - 2.25 * torch.relu(tke)).mean()
    physics = physics + torch.relu(torch.sqrt(u**2 + v**2 + 1e-8) - speed).mean()
    residual = []
    for b, (metres_y, metres_x) in enumerate(extents.tolist()):
        du_dx = torch.gradient(u[b])[1] / (metres_x / width)
        dv_dy = torch.gradient(v[b])[0] / (metres_y / height)
        residual.append(du_dx + dv_dy + dwdz[b])
    physics = physics + (torch.stack(residual) ** 2).mean()
    overflow = (fields - fields.clamp(-1, 1)).abs().sum()
    return ((fields - target[:, 6:11]) ** 2).mean() + 10 * physics + 0.1 * overflow
