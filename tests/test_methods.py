"""Methods as compositions: what one run's settings become under another method."""

from sparl.config import Config, ReplayConfig, TargetConfig, TopologyConfig
from sparl.methods import resolve, with_method


def test_another_method_keeps_the_settings_that_it_uses():
    mast = resolve(
        Config(
            sparsity=0.9,
            topology=TopologyConfig(interval=1000, distribution="uniform"),
            target=TargetConfig(lam=0.8),
            replay=ReplayConfig(window=50, batch_size=16),
        )
    )
    other = resolve(with_method(mast, "set"))
    assert other.sparsity == 0.9
    assert other.topology == TopologyConfig("set", interval=1000, distribution="uniform")
    assert other.target == TargetConfig("one_step", "double_q")
    assert other.replay == ReplayConfig("uniform", batch_size=16)
    dense = resolve(with_method(mast, "dense"))
    assert dense.sparsity == 0
    assert dense.topology == TopologyConfig("dense")
    assert resolve(with_method(dense, "mast")).sparsity == Config().sparsity
