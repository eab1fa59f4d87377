"""Packed linear maps against F.linear: how exact each kind is, and that rows don't see each other."""

import timeit

import pytest
import torch
import torch.nn.functional as F

from lara_core.linear import LEVELS, PackedLinear, fast_linear, has_fbgemm, has_vnni, in_two_parts

N, D, ROWS = 96, 64, 24


def make(half: bool, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight, x = torch.randn(N, D, generator=generator) / 20, torch.randn(ROWS, D, generator=generator)
    x[:, 3] *= 20  # one large activation, as trained transformers have
    return weight.half().float() if half else weight, x


@pytest.mark.parametrize("half", [False, True])
def test_float32_rounds_nothing(half):
    weight, x = make(half)
    packed = PackedLinear(weight, torch.ones(N))
    assert packed.kind == ("float16" if half else "float32")
    torch.testing.assert_close(packed(x), F.linear(x, weight, torch.ones(N)), atol=1e-5, rtol=1e-5)
    assert packed(x.view(2, 3, 4, D)).shape == (2, 3, 4, N)


def test_int8_rounds_the_weights_and_not_the_activations():
    weight, x = make(half=False)
    exact, rounded = F.linear(x, weight), PackedLinear(weight, int8=True)(x)
    scale = weight.abs().amax(1, keepdim=True) / 127
    torch.testing.assert_close(rounded, F.linear(x, (weight / scale).round() * scale), atol=2e-3, rtol=1e-3)
    assert (rounded - exact).std() < 0.01 * exact.std()
    assert not PackedLinear(weight, int8=True)(torch.zeros(2, D)).any()


def int8_kinds() -> list[str]:
    """What this machine can compute int8 with, the quickest first."""
    return ["int8 vnni"] * has_vnni() + ["int8 fbgemm"] * has_fbgemm() + ["int8 plain"]


def packed_as(kind: str, weight: torch.Tensor, monkeypatch) -> PackedLinear:
    for name in ("vnni", "fbgemm"):
        monkeypatch.setattr(f"lara_core.linear.has_{name}", lambda name=name: kind == f"int8 {name}")
    packed = PackedLinear(weight, int8=True)
    assert packed.kind == kind
    return packed


def test_int8_takes_the_quickest_kind_there_is():
    assert PackedLinear(make(half=False)[0], int8=True).kind == int8_kinds()[0]


@pytest.mark.parametrize("kind", int8_kinds()[:-1])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_int8_is_computed_by_a_kernel(kind, rows, monkeypatch):
    """Half of float32's time for few rows, about the same for many; where oneDNN has no kernel for a type it takes a thousand times longer."""
    weight, x = torch.randn(1024, 1024), torch.randn(rows, 1024)
    seconds = lambda linear: min(timeit.repeat(lambda: linear(x), number=1, repeat=5))
    assert seconds(packed_as(kind, weight, monkeypatch)) < 10 * seconds(PackedLinear(weight))


@pytest.mark.parametrize("kind", int8_kinds())
def test_int8_agrees_with_its_plain_twin(kind, monkeypatch):
    weight, x = make(half=False)
    packed, plain = packed_as(kind, weight, monkeypatch), packed_as("int8 plain", weight, monkeypatch)
    torch.testing.assert_close(packed(x), plain(x), atol=1e-5, rtol=1e-5)


def test_two_parts_make_a_row():
    x = make(half=False)[1]
    scale, coarse, fine = in_two_parts(x)
    torch.testing.assert_close(scale * (coarse + fine / (2 * LEVELS)), x)
    assert coarse.abs().max() == LEVELS and fine.abs().max() <= LEVELS + 1e-3 and torch.equal(coarse, coarse.round())


@pytest.mark.parametrize("kind", ["float16", "float32", *int8_kinds()[:-1]])
def test_rows_do_not_see_each_other(kind, monkeypatch):
    """So that a take made beside others is the take made alone, to the bit."""
    weight, x = make(half=kind == "float16")
    packed = packed_as(kind, weight, monkeypatch) if kind.startswith("int8") else PackedLinear(weight)
    assert packed.kind == kind
    together = packed(x)
    for size in (1, 2, 3, 4, 8, 12):
        assert torch.equal(torch.cat([packed(x[i:i + size]) for i in range(0, ROWS, size)]), together)


def test_only_float32_on_the_cpu_is_packed():
    linear = torch.nn.Linear(D, N)
    assert isinstance(fast_linear(linear), PackedLinear)
    half = torch.nn.Linear(D, N, dtype=torch.bfloat16)
    assert fast_linear(half) is half
