"""Monte-Carlo dropout: one random draw, or the mean over fixed masks; an error without dropout."""

import pytest
import torch
from torch import nn

from surefoot.models import build
from surefoot.models.frozen import frozen
from surefoot.uncertainty import DropoutEnsemble, MCDropout


def test_dropout_stays_on_and_everything_else_is_in_eval_mode():
    net = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5))
    model = MCDropout(net).eval()
    assert [layer.training for layer in net] == [False, True]
    images = torch.rand(4, 8)
    with frozen(model):
        assert not torch.equal(model(images), model(images))
    assert torch.equal(net[0].running_mean, torch.zeros(8))


def test_each_image_has_its_own_mask_and_the_mean_is_the_net_without_dropout():
    net = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 3))
    model = MCDropout(net)
    image = torch.rand(8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        draws = model(image.expand(20_000, 8))
        expected = net[1](image)
    assert len(draws.unique(dim=0)) > 100
    spread = draws.std(0) / 20_000**0.5
    assert bool(((draws.mean(0) - expected).abs() < 5 * spread).all())


def test_a_net_that_drops_nothing_raises():
    with pytest.raises(ValueError, match="dropout"):
        MCDropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))


def dropping_net(kind=nn.Dropout, p=0.4):
    torch.manual_seed(0)
    head = (nn.Flatten(), nn.Linear(4 * 36, 5))
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), kind(p), *head, nn.Dropout(p))


def test_fixed_masks_make_a_plain_function_of_the_image(generator):
    images = torch.rand(6, 1, 8, 8, generator=generator)
    model = DropoutEnsemble(dropping_net(), draws=5, seed=3).eval()
    before = torch.get_rng_state()
    outcomes = model(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model(images), outcomes)
    assert torch.allclose(model(images[2:3]), outcomes[2:3], atol=1e-6)
    members = model.members(images)
    assert torch.allclose(outcomes.softmax(1), members.softmax(2).mean(0), atol=1e-6)
    assert not torch.equal(members[0], members[1])
    other = DropoutEnsemble(model.model, draws=5, seed=4).eval()
    assert not torch.equal(other(images), outcomes)


def test_a_mask_is_one_for_all_images_and_anew_for_each_use():
    """On a net that only drops, the outcomes are the masks."""
    layer = nn.Dropout(0.5)
    model = DropoutEnsemble(nn.Sequential(nn.Flatten(), layer), draws=2).eval()
    masks = model.members(torch.ones(3, 1000))
    assert torch.equal(masks[0, 0], masks[0, 1])
    assert set(masks.unique().tolist()) == {0.0, 2.0}
    assert masks[0, 0].mean().item() == pytest.approx(1.0, abs=0.15)
    twice = DropoutEnsemble(nn.Sequential(layer, layer), draws=1).eval()
    assert twice.members(torch.ones(1, 1000)).eq(4).float().mean().item() < 0.35


@pytest.mark.parametrize("kind", [nn.Dropout2d, nn.Dropout])
def test_channels_are_dropped_as_a_whole_by_layers_of_channels(kind):
    model = DropoutEnsemble(nn.Sequential(kind(0.5), nn.Flatten()), draws=1).eval()
    kept = model.members(torch.ones(1, 64, 3, 3)).view(64, 9) > 0
    whole = (kept.all(1) | ~kept.any(1)).float().mean().item()
    assert (whole == 1.0) == (kind is nn.Dropout2d)


def test_without_a_seed_every_pass_and_image_draws_anew():
    model = DropoutEnsemble(nn.Sequential(nn.Flatten(), nn.Dropout(0.5)), draws=2, seed=None).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (model.members(torch.ones(2, 100)) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0, 0], first[0, 1])


def test_many_masks_agree_with_many_random_draws(generator):
    net, images = dropping_net(), torch.rand(3, 1, 8, 8, generator=generator)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        random = MCDropout(net)
        draws = torch.stack([random(images).softmax(1) for _ in range(3000)])
        fixed = DropoutEnsemble(net, draws=3000).eval()(images).softmax(1)
    error = draws.std(0) * (2 / 3000) ** 0.5
    assert bool(((draws.mean(0) - fixed).abs() < 5 * error).all())


def test_in_train_mode_it_is_the_net_with_its_own_dropout(generator):
    net, images = dropping_net(), torch.rand(3, 1, 8, 8, generator=generator)
    model = DropoutEnsemble(net, draws=4).train()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        own = model(images)
        torch.manual_seed(1)
        assert torch.equal(own, net(images))
    assert not torch.equal(own, model.eval()(images))


def test_the_paper_s_net_is_built_by_name_and_needs_dropout():
    inner = {"name": "preactresnet18", "width": 4, "dropout": 0.2}
    model = build("dropout-ensemble", model=inner, draws=3).eval()
    assert model.members(torch.rand(2, 3, 32, 32)).shape == (3, 2, 10)
    with pytest.raises(ValueError, match="no dropout layer"):
        build("dropout-ensemble", model={**inner, "dropout": 0.0})
    with pytest.raises(ValueError, match="draws >= 1"):
        DropoutEnsemble(dropping_net(), draws=0)


def test_what_rejects_still_rejects():
    from surefoot.types import rejects
    from surefoot.uncertainty import Selective

    net = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 3))
    assert rejects(MCDropout(Selective(net, "entropy", 0.5)))
    assert not rejects(MCDropout(net))
