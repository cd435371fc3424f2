"""Methods as compositions: what one run's settings become under another method."""

from dataclasses import replace

from sparl.config import Config, ReplayConfig, TargetConfig, TopologyConfig
from sparl.methods import resolve, with_method
from sparl.presets import defaults


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


def test_algorithms_that_are_what_they_are_by_their_operator_keep_it():
    own = {"qmix": "soft_mellowmax", "ow-qmix": "double_q", "cw-qmix": "double_q"}
    for algorithm, operator in own.items():
        config = defaults(algorithm, "mast")
        assert resolve(config).target.operator == operator
        assert resolve(with_method(resolve(defaults(algorithm, "rigl")), "mast")) == resolve(config)
    papers = replace(defaults("ow-qmix", "mast"), target=TargetConfig(operator="soft_mellowmax"))
    assert resolve(papers).target.operator == "soft_mellowmax"


def test_weighted_qmix_weighs_errors_as_its_paper_does():
    own = {name: defaults(name).weighting.alpha for name in ("ow-qmix", "cw-qmix")}
    assert own == {"ow-qmix": 0.5, "cw-qmix": 0.75}


def test_another_method_of_control_brings_its_own_settings():
    ds = resolve(replace(defaults("td3", "ds"), seed=3, gamma=0.98))
    rlx2 = resolve(with_method(ds, "rlx2"))
    assert rlx2 == resolve(replace(defaults("td3", "rlx2"), seed=3, gamma=0.98))
    assert resolve(with_method(rlx2, "ds")) == ds
    assert resolve(with_method(resolve(with_method(ds, "dense")), "ds")) == ds
