"""The Init-NCA's losses: a texture does not care where its patterns stand; pixels do."""

import pytest
import torch
from torch.nn import functional as F

from pinca_lib.errors import InputError
from pinca_lib.training import texture


def fields(seed: int = 0) -> torch.Tensor:
    """Smooth random fields in a state, (1, 12, 32, 32)."""
    noise = torch.randn(1, 12, 8, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (32, 32), mode="bicubic")


def test_transport_equals_its_definition_on_one_direction():
    a, b = torch.tensor([[[3.0, 1.0, 2.0]]]), torch.tensor([[[10.0, 30.0, 20.0]]])
    cost = texture.sliced_transport(a, b)  # in one dimension every direction is ±1
    assert cost.item() == pytest.approx((9**2 + 18**2 + 27**2) / 3)


def test_transport_is_zero_for_the_same_points_in_another_order():
    cloud = torch.randn(2, 5, 100)
    assert texture.sliced_transport(cloud, cloud[..., torch.randperm(100)]) < 1e-10
    assert texture.sliced_transport(cloud, cloud + 1) > 0.1


def cost(state, target):
    return texture.texture_loss(state, target, texture.filter_features)


def test_it_is_zero_at_its_target_and_falls_towards_it():
    target, other = fields(0), fields(1)
    assert cost(target, target) == 0
    far, near = (cost(target + share * (other - target), target) for share in (1.0, 0.2))
    assert far > near > 0


def test_a_shifted_field_is_the_same_texture_but_not_the_same_pixels():
    target, other = fields(0), fields(1)
    shifted = target.roll((8, 16), (2, 3))
    assert cost(shifted, target) < 0.05 * cost(other, target)
    assert (shifted - target).square().sum() > 0.5 * (other - target).square().sum()


def test_the_texture_loss_has_a_gradient_for_each_field():
    state = fields(1).requires_grad_(True)
    cost(state, fields(0)).backward()
    reached = state.grad.abs().amax((0, 2, 3)) > 0
    assert reached.tolist() == [6 <= channel <= 10 for channel in range(12)]


def test_vgg_without_its_weights_says_where_they_belong(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"vgg16-397923af\.pth.*'filters'"):
        texture.vgg_features()


def test_vgg_features_are_used_when_the_weights_are_at_hand(tmp_path, monkeypatch):
    """With random weights in the right place: the real ones are half a gigabyte."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    texture.declare_torchvision_operators()
    from torchvision.models import vgg16

    torch.manual_seed(0)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(vgg16().state_dict(), folder / texture.VGG_FILE)
    features = texture.vgg_features()
    maps = features(fields()[:, 6:11])
    assert [tuple(m.shape[1:]) for m in maps] == [
        (3, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2),
    ]  # fmt: skip
    assert all(len(m) == 2 for m in maps)  # two groups of three fields
    assert all((m >= 0).all() for m in maps[1:])  # behind a ReLU
    state = fields(1).requires_grad_(True)
    loss = texture.texture_loss(state, fields(0), features)
    loss.backward()
    assert loss > 0
    assert state.grad[:, 6:11].abs().amax() > 0
