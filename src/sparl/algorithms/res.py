"""RES: regularised softmax QMIX (Pan et al., NeurIPS 2021)."""

from dataclasses import replace

from sparl.algorithms.qmix import qmix
from sparl.algorithms.value_decomposition import ValueDecomposition
from sparl.config import Config
from sparl.spec import EnvSpec
from sparl.targets import Target


def res(spec: EnvSpec, config: Config, target: Target) -> ValueDecomposition:
    """QMIX whose loss also holds `Q_tot` near the returns that are realised.

    Its target, a softmax over joint actions, is the operator `subspace_softmax`.
    """
    return replace(qmix(spec, config, target), name="res", regulariser=config.res.regulariser)
