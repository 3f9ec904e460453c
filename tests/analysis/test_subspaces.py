import pytest
import torch

from hf_relvit.analysis.das_rotation import LearnedSubspace
from hf_relvit.analysis.subspaces import baseline_subspace, interchange, random_rotation


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_orthonormal(rows, atol=1e-5):
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=atol, rtol=0)


@pytest.mark.parametrize("method", ["das", "low_rank", "boundless", "identity"])
def test_old_checkpointss_stay_orthonormal_however_far_they_are_learned(method):
    subspace = LearnedSubspace(method, 24, 5 if method == "low_rank" else None, generator())
    start = subspace.rotation().detach().clone()
    with torch.no_grad():
        for parameter in subspace.parameters():
            parameter.add_(3 * torch.randn(parameter.shape, generator=generator(1)))
    rows = subspace.rotation().detach()
    assert rows.shape == (5 if method == "low_rank" else 24, 24)
    assert_orthonormal(start)
    assert_orthonormal(rows)
    assert rows.equal(start) == (method == "identity")


def test_the_gradient_of_the_rotation_is_right():
    subspace = LearnedSubspace("das", 6, None, generator()).double()
    with torch.no_grad():
        subspace.skew.normal_(generator=generator(1))

    def loss(skew):
        return (torch.func.functional_call(_Rotation(subspace), {"inner.skew": skew}) ** 3).sum()

    assert torch.autograd.gradcheck(loss, subspace.skew.detach().requires_grad_())


class _Rotation(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self):
        return self.inner.rotation()


def test_masks_start_open_and_harden():
    das = LearnedSubspace("das", 8, None, generator())
    assert das.mask(1.0).tolist() == [0.5] * 8
    with torch.no_grad():
        das.logits.copy_(torch.tensor([-1, 1.0] * 4))
    torch.testing.assert_close(das.mask(1.0), torch.tensor([0.2689, 0.7311] * 4), atol=1e-4, rtol=0)
    hard = das.hard()[1]
    assert hard.tolist() == [False, True] * 4
    torch.testing.assert_close(das.mask(1e-3), hard.float())
    boundless = LearnedSubspace("boundless", 8, None, generator())
    assert boundless.hard()[1].tolist() == [True] * 4 + [False] * 4
    assert (boundless.mask(1.0).diff() < 0).all()
    torch.testing.assert_close(boundless.mask(1e-3), boundless.hard()[1].float())
    assert LearnedSubspace("low_rank", 8, 3, generator()).hard()[1].tolist() == [True] * 3


def test_interchange_moves_the_subspace_and_nothing_else():
    rows = random_rotation(24, 24, generator())
    mask = (torch.arange(24) < 7).float()
    base, source = torch.randn(2, 5, 4, 24, generator=generator(1))
    swapped = interchange(base, source, rows, mask)
    torch.testing.assert_close(swapped @ rows[:7].T, source @ rows[:7].T, atol=1e-5, rtol=0)
    torch.testing.assert_close(swapped @ rows[7:].T, base @ rows[7:].T, atol=1e-5, rtol=0)
    assert interchange(base, base, rows, mask).equal(base)
    torch.testing.assert_close(
        interchange(base, source, rows[:7], torch.ones(7)), swapped, atol=1e-5, rtol=0
    )
    assert interchange(base.bfloat16(), source.bfloat16(), rows, mask).dtype == torch.bfloat16


def test_baselines_find_what_they_are_named_for():
    frame = random_rotation(24, 24, generator())
    values = torch.arange(400) % 4
    means = (
        torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]) @ frame[:2]
    )  # the property lives in two dimensions
    states = means[values] + 5 * torch.randn(400, 3, generator=generator(1)) @ frame[2:5] + 3.0
    states = states + 0.01 * torch.randn(400, 24, generator=generator(2))
    states -= torch.stack([states[values == v].mean(0) for v in range(4)])[values] - means[values]
    for method, true, size in (("mean_difference", frame[:2], 2), ("pca", frame[2:5], 3)):
        rows, mask = baseline_subspace(method, states, values, size, generator())
        assert_orthonormal(rows)
        assert mask.tolist() == [True] * size
        assert float((rows @ true.T).pow(2).sum()) > 0.999 * size
    assert (
        len(baseline_subspace("mean_difference", states, values, 20, generator())[0]) == 3
    )  # values - 1
    random, other = (
        baseline_subspace("random_subspace", states, values, 6, generator(seed))[0]
        for seed in (0, 1)
    )
    assert_orthonormal(random)
    assert not random.equal(other)
    assert baseline_subspace("full_swap", states, values, None, generator())[0].equal(torch.eye(24))
