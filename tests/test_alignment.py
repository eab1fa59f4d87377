"""The alignment loss: what it pools, when it is zero, and that it teaches the decoder's hidden states."""

import pytest
import torch

from lara_core.alignment import ProxyNetwork, lara_loss, pool_windows


def test_pooling_is_the_mean_of_whole_windows():
    x = torch.arange(10.0)[None, :, None]
    mask = torch.ones(1, 10, dtype=torch.bool)
    mask[0, 5] = False
    means, whole = pool_windows(x, mask, 4)
    assert means[0, :, 0].tolist() == [1.5, 5.5] and whole[0].tolist() == [True, False]


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_zero_for_equal_features_and_only_known_windows_count(kind):
    torch.manual_seed(0)
    features = torch.randn(2, 32, 8)
    mask = torch.ones(2, 32, dtype=torch.bool)
    assert lara_loss(features, features, mask, 16, kind).item() == pytest.approx(0, abs=1e-6)
    wrong = features.clone()
    wrong[1] = -wrong[1]
    mask[1] = False
    assert lara_loss(wrong, features, mask, 16, kind).item() == pytest.approx(0, abs=1e-6)
    mask[1] = True
    assert lara_loss(wrong, features, mask, 16, kind).item() > 0.1


def test_opposite_features_cost_two_by_cosine():
    features = torch.randn(1, 16, 4)
    assert lara_loss(-features, features, torch.ones(1, 16, dtype=torch.bool), 16).item() == pytest.approx(2)


def test_nothing_heard_costs_nothing_and_gives_no_gradient():
    proxy = ProxyNetwork(8, 4)
    hidden = torch.randn(1, 16, 8, requires_grad=True)
    loss = lara_loss(proxy(hidden), torch.zeros(1, 16, 4), torch.zeros(1, 16, dtype=torch.bool), 16)
    loss.backward()
    assert loss.item() == 0 and float(hidden.grad.abs().sum()) == 0


def test_the_proxy_learns_features_and_its_gradient_reaches_the_hidden_states():
    torch.manual_seed(1)
    hidden, features = torch.randn(4, 32, 16), torch.randn(4, 32, 6)
    mask = torch.ones(4, 32, dtype=torch.bool)
    hidden.requires_grad_(True)
    proxy = ProxyNetwork(16, 6)
    optimizer = torch.optim.Adam([*proxy.parameters(), hidden], 0.02)
    first = lara_loss(proxy(hidden), features, mask, 4)
    for _ in range(60):
        optimizer.zero_grad()
        loss = lara_loss(proxy(hidden), features, mask, 4)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first.item() and float(hidden.grad.abs().sum()) > 0


def test_a_proxy_for_another_listener_is_refused():
    with pytest.raises(ValueError, match="listener"):
        lara_loss(torch.zeros(1, 16, 4), torch.zeros(1, 16, 5), torch.ones(1, 16, dtype=torch.bool), 16)
    with pytest.raises(ValueError, match="cosine"):
        lara_loss(torch.zeros(1, 16, 4), torch.zeros(1, 16, 4), torch.ones(1, 16, dtype=torch.bool), 16, "l1")
