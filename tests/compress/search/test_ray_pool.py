"""A search on a Ray cluster of two nodes, of which one dies: every candidate is recorded once, and the search ends."""

import threading
import time

import pytest

from pilotfish.compress.search.effort import Effort
from pilotfish.compress.search.limits import limits_of
from pilotfish.compress.search.ray_pool import search_on_ray
from pilotfish.compress.search.space import Space, fitted
from pilotfish.compress.search.study import ARMS, Study
from pilotfish.compress.search.worker import CANDIDATES, Plan
from pilotfish.targets import load_target

SPACE = Space(
    depth=(1, 1), widths=(2, 3, 4, 5, 6, 8), activations=("tanh",), sparsity=(0.0,), rank=(1.0,), bits=(32,), studies=(1,)
)
TRIALS = 4


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = made.add_node(num_cpus=1)
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    yield made, other
    ray.shutdown()
    made.shutdown()


def test_a_node_that_dies_loses_nothing_that_was_finished(cluster, teacher, tmp_path):
    made, other = cluster
    board = load_target("crazyflie")
    teacher.save(tmp_path / "teacher.policy")
    plan = Plan(
        tmp_path, tmp_path / "teacher.policy", board, "CartPole-v1", fitted(SPACE, teacher, board), limits_of(board, 50.0),
        Effort(steps=400, episodes=2), "nsga2", 0.0, 0, time.time() + 300, TRIALS,
    )  # fmt: skip
    killed = threading.Event()

    def told(study):
        if not killed.is_set() and sum(len(study.outcomes(arm)) for arm in ARMS) >= 1:
            killed.set()
            made.remove_node(other, allow_graceful=False)

    search_on_ray(plan, 2, told)
    assert killed.is_set()
    study = Study(tmp_path)
    outcomes = [(arm, one) for arm in ARMS for one in study.outcomes(arm)]
    assert len(outcomes) == TRIALS and not any(study.running(arm) for arm in ARMS)
    numbers = [(arm, trial.number) for arm in ARMS for trial in study.arms[arm].trials if "outcome" in trial.user_attrs]
    assert len(numbers) == len(set(numbers)) == TRIALS
    assert {one.state for _, one in outcomes} <= {"done", "stopped"}, [one.cause for _, one in outcomes]
    for arm, one in outcomes:
        assert (one.state == "done") == bool(one.policy) and arm in ARMS
        assert not one.policy or (tmp_path / CANDIDATES / one.policy / "policy.json").exists()
