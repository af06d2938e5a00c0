"""Rules and states that the tests make at random."""

import torch

from pinca_lib.automaton import CA


def trained(channels: int = 24, seed: int = 0) -> CA:
    """A rule with weights as large as trained ones."""
    torch.manual_seed(seed)
    rule = CA(channels).requires_grad_(False)
    torch.nn.init.normal_(rule.w2.weight, std=0.02)
    return rule


def rule_of_kind(seed: int, **kind) -> CA:
    """A rule with channels in units of their own, unless ``kind`` says otherwise."""
    torch.manual_seed(seed)
    rule = CA(**{"units": torch.rand(24) + 0.5} | kind).requires_grad_(False)
    torch.nn.init.normal_(rule.w2.weight, std=0.02)
    return rule


def bounded_rule(seed: int = 0) -> CA:
    """A rule that keeps the bounds."""
    return rule_of_kind(seed, alpha=2.25)


def wide_rule(seed: int = 0, scale: int = 4) -> CA:
    """A rule of wider cells that keeps the bounds."""
    return rule_of_kind(seed, alpha=2.25, scale=scale)


def windward_rule(seed: int = 0, **kind) -> CA:
    """A rule that follows the wind."""
    return rule_of_kind(seed, **{"follows_wind": True} | kind)


def city_state(batch: int = 2, channels: int = 24, height: int = 7, width: int = 9, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(batch, channels, height, width, generator=generator)
    state[:, 2] = (torch.rand(batch, height, width, generator=generator) > 0.3).float()
    return state


def calm_rule() -> CA:
    """A rule whose states stay small over many steps."""
    rule = trained()
    rule.w2.weight *= 0.02
    return rule
