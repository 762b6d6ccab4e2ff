import pytest
import torch
from torch import nn

from dprkit.models import linear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


def layers(inner, outer, bias=True):
    """The same layer twice: torch's own, and ours."""
    torch.manual_seed(0)
    plain = nn.Linear(inner, outer, bias=bias)
    ours = nn.Linear(inner, outer, bias=bias)
    ours.load_state_dict(plain.state_dict())
    ours.__class__ = linear.Linear
    return plain, ours


@pytest.mark.parametrize("shape", [(5, 24), (1, 7, 24), (2, 3, 4, 24), (1, 24), (0, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_torchs(shape, bias):
    plain, ours = layers(24, 10, bias)
    given = torch.randn(shape)
    found = []
    for layer in (plain, ours):
        x = given.clone().requires_grad_()
        out = layer(x)
        out.square().sum().backward()
        found.append([out.detach(), x.grad, *(p.grad for p in layer.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_frozen_weights_get_no_gradient():
    _, ours = layers(6, 4)
    ours.weight.requires_grad_(False)
    x = torch.randn(3, 6, requires_grad=True)
    ours(x).sum().backward()
    assert ours.weight.grad is None
    assert ours.bias.grad is not None and x.grad is not None


def test_other_numbers_take_torchs_way():
    plain, ours = layers(6, 4)
    x = torch.randn(3, 6)
    assert torch.equal(plain.double()(x.double()), ours.double()(x.double()))
    plain, ours = layers(6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16


def test_weights_keep_their_names_and_other_layers_their_class(monkeypatch):
    monkeypatch.setattr(linear, "pays", lambda: True)

    class Special(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), Special(3, 2))
    names = list(model.state_dict())
    linear.enable(model)
    assert [type(layer) for layer in model] == [linear.Linear, nn.LayerNorm, Special]
    assert list(model.state_dict()) == names


def test_nothing_changes_where_it_does_not_pay(monkeypatch):
    monkeypatch.setattr(linear, "pays", lambda: False)
    model = nn.Sequential(nn.Linear(3, 3))
    linear.enable(model)
    assert type(model[0]) is nn.Linear
