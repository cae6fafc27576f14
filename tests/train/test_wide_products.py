"""Wide products: exact in float32 on every machine, the switch put back, and never where rounding would come with it."""

import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.train import wide_products as module
from pilotfish.train.algorithms import ALGORITHMS
from pilotfish.train.config import train_config
from pilotfish.train.environments import VectorEnv
from pilotfish.train.wide_products import WORTH, largest, wide_products

CPU = torch.device("cpu")


@pytest.fixture
def helps():
    """Forgets what was found out about this machine, before and after."""
    found = module._helps
    found.cache_clear()
    yield found
    found.cache_clear()


def switch() -> str:
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(settings, "fp32_precision"):
        pytest.skip("this torch has no torch.backends.mkldnn.matmul.fp32_precision")
    return settings.fp32_precision


@pytest.mark.parametrize("shape", [(256, 256, 256), (1, 257, 256), (257, 128, 12), (160, 256, 6)])
def test_products_within_are_float32_ones(shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand((rows, inner), generator=generator), torch.rand((inner, columns), generator=generator)
    with wide_products(WORTH, CPU):
        found = a @ b
    torch.testing.assert_close(found.double(), a.double() @ b.double(), rtol=3e-6, atol=0)  # bfloat16 would be 1e-4 off


def test_the_switch_is_put_back_even_after_an_error(helps, monkeypatch: pytest.MonkeyPatch) -> None:
    before = switch()
    monkeypatch.setattr(module, "_helps", lambda: True)
    with pytest.raises(ArithmeticError), wide_products(WORTH, CPU):
        assert switch() == "bf16"
        raise ArithmeticError
    assert switch() == before
    for work, device in ((WORTH - 1, CPU), (WORTH, torch.device("cuda"))):
        with wide_products(work, device):
            assert switch() == before


def test_it_needs_a_processor_that_gains_and_does_not_round(helps, monkeypatch: pytest.MonkeyPatch) -> None:
    switch()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(module, "_vendor", lambda: "AuthenticAMD")
    multiply = torch.Tensor.__matmul__

    def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return multiply(a, b) if a.dtype == torch.float64 else multiply(a.bfloat16(), b.bfloat16()).float()

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not helps()  # as AMX does
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    helps.cache_clear()
    assert not helps()


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_learners_use_it_where_they_are_wide(algorithm: str, helps, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, before = [], switch()
    monkeypatch.setattr(module, "_helps", lambda: seen.append(switch()) or True)
    wanted = {"algorithm": algorithm, "env": "Pendulum-v1", "n_envs": 1, "hidden": (128, 128), "critic_hidden": (16, 16)}
    extra = {"rollout_steps": 256, "minibatch_size": 256, "epochs": 1} if algorithm == "ppo" else {"learning_starts": 16}
    envs = VectorEnv("Pendulum-v1", 1, 0)
    learner = ALGORITHMS[algorithm](train_config(wanted | extra | ({} if algorithm == "ppo" else {"batch_size": 128})), envs, CPU)
    for _ in range(3):
        learner.iterate()
    envs.close()
    assert seen and set(seen) == {before} and switch() == before


def test_the_largest_product_counts() -> None:
    assert largest((3, 20, 10), 8) == 8 * 200
    assert largest((5,), 8) == 0
