"""The guarantees against linear models, brute force, linear programmes and hand-made bad cases."""

import itertools

import pytest
import torch
from oracles import exact_pairwise, members_of, nearest_violation, random_linear

from surefoot.guarantees import (
    Affinity,
    LabelOrUncertain,
    Local,
    RelaxedTopK,
    TopK,
    check_model,
    containing,
    tolerated_shift,
)

GROUPS = ((0, 1, 2), (2, 3), (4,))
EVERY = [Local(), TopK(2), TopK(3), RelaxedTopK(3), Affinity(GROUPS)]
ALL = [*EVERY, LabelOrUncertain()]


@pytest.fixture
def outcomes(generator):
    return torch.randn(200, 5, generator=generator, dtype=torch.float64)


def test_sets_are_the_top_sets_of_each_row(outcomes):
    for guarantee, sizes in [(Local(), [1]), (TopK(3), [3]), (RelaxedTopK(3), [1, 2, 3])]:
        sets = guarantee.sets(outcomes)
        for row, alternatives in zip(outcomes, sets, strict=True):
            order = row.argsort(descending=True).tolist()
            assert [members_of(a) for a in alternatives] == [set(order[:k]) for k in sizes]


def test_affinity_keeps_exactly_the_sets_that_fit_in_a_group(outcomes):
    sets = Affinity(GROUPS).sets(outcomes)
    relaxed = RelaxedTopK(3).sets(outcomes)
    for kept, offered in zip(sets.flatten(0, 1), relaxed.flatten(0, 1), strict=True):
        members = members_of(offered)
        fits = any(members <= set(group) for group in GROUPS)
        assert members_of(kept) == (members if fits else set())


def test_affinity_of_all_k_subsets_is_relaxed_top_k(outcomes):
    groups = tuple(itertools.combinations(range(5), 3))
    assert torch.equal(Affinity(groups).sets(outcomes), RelaxedTopK(3).sets(outcomes))


def test_affinity_of_singletons_is_local(outcomes):
    groups = tuple((c,) for c in range(5))
    assert torch.equal(Affinity(groups).sets(outcomes), Local().sets(outcomes))


def test_label_or_uncertain_names_the_top_label_even_where_uncertain_wins():
    outcomes = torch.tensor([[0.0, 2.0, 1.0, 5.0], [3.0, 2.0, 1.0, 0.0]])
    sets = LabelOrUncertain().sets(outcomes)
    assert [members_of(s[0]) for s in sets] == [{1, 3}, {0, 3}]
    assert torch.allclose(
        LabelOrUncertain().margins(outcomes, sets).flatten(), torch.tensor([4.0, 1.0])
    )


@pytest.mark.parametrize("guarantee", ALL, ids=repr)
def test_margins_follow_the_definition(guarantee, outcomes, generator):
    sets = guarantee.sets(outcomes)
    elsewhere = torch.randn(outcomes.shape, generator=generator, dtype=torch.float64)
    slack = torch.rand(5, 5, generator=generator, dtype=torch.float64)
    for matrix in (None, slack, slack.expand(200, 5, 5)):
        margins = guarantee.margins(elsewhere, sets, slack=matrix)
        for b, a in itertools.product(range(len(sets)), range(sets.shape[1])):
            members = members_of(sets[b, a])
            expected = -torch.inf
            if members:
                gap = elsewhere[b][:, None] - elsewhere[b][None, :]
                gap = gap - (0 if matrix is None else slack)
                outside = sorted(set(range(5)) - members)
                block = gap[sorted(members)][:, outside]
                inner = block.amin(0) if guarantee.quantifier == "every" else block.amax(0)
                expected = inner.amin().item()
            assert margins[b, a].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("guarantee", EVERY, ids=repr)
def test_lipschitz_radius_of_a_linear_model_is_the_distance_to_the_nearest_violation(
    guarantee, generator
):
    model = random_linear(5, 7)
    images = torch.randn(60, 7, generator=generator, dtype=torch.float64)
    outcomes = model(images).detach()
    sets = guarantee.sets(outcomes)
    radii = guarantee.lipschitz_radii(outcomes, sets, exact_pairwise(model).detach())
    for b, a in itertools.product(range(60), range(sets.shape[1])):
        members = members_of(sets[b, a])
        truth = nearest_violation(model, images[b], members) if members else 0.0
        assert radii[b, a].item() == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("guarantee", ALL, ids=repr)
def test_lipschitz_radius_against_brute_force_in_the_plane(guarantee):
    model = random_linear(5, 2, seed=3)
    images = torch.rand(12, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    outcomes = model(images).detach()
    sets = guarantee.sets(outcomes)
    radii = guarantee.lipschitz_radii(outcomes, sets, exact_pairwise(model).detach())
    axis = torch.linspace(-2, 3, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    reached = model(grid).detach()
    step = (axis[1] - axis[0]).item()
    for b in range(len(images)):
        distance = (grid - images[b]).norm(dim=1)
        broken = guarantee.margins(reached, sets[b : b + 1].expand(len(grid), -1, -1)) <= 0
        for a in range(sets.shape[1]):
            truth = distance[broken[:, a]].min().item() if bool(broken[:, a].any()) else 5.0
            assert radii[b, a].item() <= truth
            if guarantee.quantifier == "every" and bool(sets[b, a].any()) and truth < 1.0:
                assert radii[b, a].item() >= truth - 1.5 * step


def test_some_radius_is_exact_when_one_member_guards(generator):
    """With U far below everything, {A, U} is Local: the nearest point where B reaches A."""
    model = random_linear(4, 6)
    with torch.no_grad():
        model.weight[3] = 0
        model.bias[3] = -100
    images = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    outcomes, pairwise = model(images).detach(), exact_pairwise(model).detach()
    radii = LabelOrUncertain().lipschitz_radii(
        outcomes, LabelOrUncertain().sets(outcomes), pairwise
    )
    labels = Local().lipschitz_radii(
        outcomes[:, :3], Local().sets(outcomes[:, :3]), pairwise[:3, :3]
    )
    assert torch.allclose(radii, labels, rtol=1e-12, atol=0)


def test_a_constant_lead_lasts_for_ever_and_a_constant_tie_not_at_all():
    outcomes = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    sets = torch.tensor([[[True, False]], [[True, False]]])
    radii = Local().lipschitz_radii(outcomes, sets, torch.zeros(2, 2, dtype=torch.float64))
    assert radii.flatten().tolist() == [torch.inf, 0.0]


def test_radius_exceeds_eps_exactly_where_the_slack_margin_is_positive(outcomes, generator):
    pairwise = torch.rand(5, 5, generator=generator, dtype=torch.float64) + 0.5
    for guarantee in ALL:
        sets = guarantee.sets(outcomes)
        radii = guarantee.lipschitz_radii(outcomes, sets, pairwise)
        for eps in (0.05, 0.2, 0.7):
            margins = guarantee.margins(outcomes, sets, slack=eps * pairwise)
            assert torch.equal(radii > eps, margins > 0)


@pytest.mark.parametrize(
    ("probabilities", "local", "either"),
    [
        ((0.70, 0.05, 0.25), 0.599, 1.214),
        ((0.50, 0.05, 0.45), 0.063, 1.214),
        ((0.30, 0.05, 0.65), 0.0, 1.214),
        ((0.90, 0.01, 0.09), 1.311, 1.896),
    ],
)
def test_smoothed_radii_against_linear_programmes(probabilities, local, either):
    """Probabilities of A, B, U; the optimum over classifiers was found by a linear programme."""
    row = torch.tensor([probabilities], dtype=torch.float64)
    a_set = torch.tensor([[[True, False, False]]])
    au_set = torch.tensor([[[True, False, True]]])
    assert Local().smoothed_radii(row, a_set, 1.0).item() == pytest.approx(local, abs=1e-3)
    found = LabelOrUncertain().smoothed_radii(row, au_set, 1.0).item()
    assert found == pytest.approx(either, abs=1e-3)
    half = LabelOrUncertain().smoothed_radii(row, au_set, 0.5).item()
    assert half == pytest.approx(found / 2)


@pytest.mark.parametrize(
    ("members", "competitor", "other", "root"),
    [
        ((0.5, 0.2), 0.2, 0.1, 0.4208),
        ((0.4, 0.35), 0.15, 0.1, 0.4792),
        ((0.3, 0.3), 0.3, 0.1, 0.0),
        ((0.6, 0.3), 0.05, 0.05, 1.0872),
        ((0.1, 0.7), 0.15, 0.05, 0.7804),
        ((0.3, 0.25, 0.2), 0.15, 0.1, 0.2692),
        ((0.5, 0.1, 0.1), 0.25, 0.05, 0.3372),
        ((0.35, 0.3, 0.05), 0.2, 0.1, 0.2497),
        ((0.2, 0.2, 0.2), 0.3, 0.1, 0.0),
    ],
)
def test_some_radius_of_general_sets_against_linear_programmes(members, competitor, other, root):
    row = torch.tensor([[*members, competitor, other]], dtype=torch.float64)
    sets = torch.zeros(1, 1, len(members) + 2, dtype=torch.bool)
    sets[..., : len(members)] = True
    found = LabelOrUncertain().smoothed_radii(row, sets, 1.0).item()
    assert found == pytest.approx(root, abs=1e-3)


def test_tolerated_shift_solves_its_equation(generator):
    probability = torch.rand(500, generator=generator, dtype=torch.float64)
    competitor = torch.rand(500, generator=generator, dtype=torch.float64) * (1 - probability)
    ndtri, ndtr = torch.special.ndtri, torch.special.ndtr
    for size in (1, 2, 3):
        shift = tolerated_shift(probability, competitor, size)
        lead = ndtr(ndtri(probability) - shift) / size - ndtr(ndtri(competitor) + shift)
        active = shift > 0
        assert torch.equal(active, probability / size > competitor)
        assert bool((lead[active] >= 0).all())
        assert lead[active].abs().max().item() < 1e-12


def test_tolerated_shift_at_the_ends():
    one, zero = torch.tensor([1.0]), torch.tensor([0.0])
    assert tolerated_shift(one, zero).item() == torch.inf
    assert tolerated_shift(torch.tensor([0.6]), zero, 2).item() == torch.inf
    assert tolerated_shift(zero, zero).item() == 0.0
    tail = torch.tensor([1e-60], dtype=torch.float64)
    far = tolerated_shift(torch.tensor([0.6], dtype=torch.float64), tail, 2).item()
    assert far == pytest.approx(8.28301, abs=1e-5)  # found with 50 digits
    assert far <= 8.28302
    assert tolerated_shift(torch.tensor([0.5]), torch.tensor([0.5])).item() == 0.0


def test_smoothed_radius_of_a_linear_model_is_its_distance(generator):
    """Noise pushed through two logits is Gaussian in their difference: probabilities are exact."""
    model = random_linear(2, 9)
    images = torch.randn(50, 9, generator=generator, dtype=torch.float64)
    outcomes = model(images).detach()
    normal = model.weight[0] - model.weight[1]
    distance = ((outcomes[:, 0] - outcomes[:, 1]) / normal.norm()).detach()
    sigma = 0.7
    fraction = torch.special.ndtr(distance / sigma)
    probabilities = torch.stack([fraction, 1 - fraction], 1)
    radii = Local().smoothed_radii(probabilities, Local().sets(probabilities), sigma).flatten()
    assert torch.allclose(radii, distance.abs(), rtol=1e-6, atol=0)


def test_weaker_guarantees_have_larger_radii(outcomes):
    probabilities = outcomes.softmax(1)
    local = Local().smoothed_radii(probabilities, Local().sets(probabilities), 1.0).amax(1)
    relaxed = (
        RelaxedTopK(3)
        .smoothed_radii(probabilities, RelaxedTopK(3).sets(probabilities), 1.0)
        .amax(1)
    )
    either = LabelOrUncertain().smoothed_radii(
        probabilities, LabelOrUncertain().sets(probabilities), 1.0
    )[:, 0]
    accepted = probabilities.argmax(1) < 4
    assert bool((relaxed >= local).all())
    assert bool((either[accepted] >= local[accepted]).all())


BAD_ROWS = [
    [1.0, 1.0, 0.0, 0.0],  # tie at the top
    [torch.nan, 1.0, 0.0, 2.0],
    [torch.inf, 1.0, 0.0, 2.0],
    [-torch.inf, 1.0, 0.0, 2.0],
    [torch.nan] * 4,
    [0.0] * 4,  # a constant net
]


@pytest.mark.parametrize("row", BAD_ROWS, ids=str)
@pytest.mark.parametrize("guarantee", [Local(), TopK(1), RelaxedTopK(1), Affinity(((0,), (1,)))])
def test_ties_and_non_finite_rows_claim_nothing(guarantee, row):
    outcomes = torch.tensor([row])
    sets = guarantee.sets(outcomes)
    assert not bool(sets.any())
    assert bool((guarantee.margins(outcomes, sets) == -torch.inf).all())
    pairwise = torch.ones(4, 4, dtype=torch.float64)
    assert bool((guarantee.lipschitz_radii(outcomes, sets, pairwise) == 0).all())


@pytest.mark.parametrize("row", [BAD_ROWS[1], BAD_ROWS[2], BAD_ROWS[3], BAD_ROWS[5]], ids=str)
@pytest.mark.parametrize("guarantee", [Local(), TopK(2), RelaxedTopK(3), LabelOrUncertain()])
def test_ties_and_non_finite_values_at_another_point_break_the_relation(guarantee, row):
    sets = guarantee.sets(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    assert bool((guarantee.margins(torch.tensor([row]), sets) <= 0).all())


def test_a_tie_between_rank_two_and_three_leaves_top_one():
    sets = RelaxedTopK(3).sets(torch.tensor([[3.0, 1.0, 1.0, 0.0]]))
    assert [members_of(s) for s in sets[0]] == [{0}, set(), {0, 1, 2}]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(0), "at least 1"),
        (lambda: RelaxedTopK(-1), "at least 1"),
        (lambda: TopK(4).sets(torch.zeros(1, 4)), "4 of 4 outcomes"),
        (lambda: RelaxedTopK(7).sets(torch.zeros(1, 4)), "7 of 4 outcomes"),
        (lambda: Affinity(((0, 1, 2, 3),)).sets(torch.zeros(1, 4)), "group holds 4 of 4"),
        (lambda: Affinity(((0, 9),)).sets(torch.zeros(1, 4)), "outcome 9"),
        (lambda: Affinity(()), "non-empty groups"),
        (lambda: Affinity(((),)), "non-empty groups"),
        (lambda: LabelOrUncertain().sets(torch.zeros(1, 2)), "at least two labels"),
        (lambda: check_model(LabelOrUncertain(), random_linear(3, 2)), "rejects = True"),
        (
            lambda: Local().smoothed_radii(
                torch.tensor([[0.9, 0.9]]), torch.tensor([[[True, False]]]), 1.0
            ),
            "sum to at most 1",
        ),
        (
            lambda: Local().lipschitz_radii(
                torch.zeros(1, 2),
                torch.tensor([[[True, False]]]),
                torch.full((2, 2), torch.nan, dtype=torch.float64),
            ),
            "negative or NaN",
        ),
    ],
)
def test_claims_that_say_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_groups_that_leave_out_the_highest_outcome_are_fine():
    assert Affinity(((0, 1),)).sets(torch.tensor([[3.0, 2.0, 1.0, 0.0]])).shape == (1, 2, 4)


def test_containing_keeps_only_the_alternatives_with_the_label():
    sets = RelaxedTopK(2).sets(torch.tensor([[3.0, 2.0, 1.0]] * 3))
    kept = containing(sets, torch.tensor([0, 1, 2]))
    assert kept.any(2).tolist() == [[True, True], [False, True], [False, False]]


def test_a_radius_of_a_lead_hardly_above_its_slack_is_rounded_down():
    """1 - 5e-17 rounds to 1, and against a slack of 1 - 1.1e-16 nearly half of the lead is lost."""
    outcomes = torch.tensor([[1.0, 5e-17]], dtype=torch.float64)
    slack = torch.full((2, 2), 1 - 2.0**-53, dtype=torch.float64)
    constants = torch.ones(2, 2, dtype=torch.float64)
    radii = Local().lipschitz_radii(outcomes, Local().sets(outcomes), constants, slack)
    assert radii.item() <= 2.0**-53 - 5e-17


def test_a_radius_that_is_no_number_is_none():
    outcomes = torch.tensor([[1.0, 0.0]])
    slack = torch.full((2, 2), torch.nan)
    constants = torch.ones(2, 2, dtype=torch.float64)
    radii = Local().lipschitz_radii(outcomes, Local().sets(outcomes), constants, slack)
    assert radii.item() == 0
