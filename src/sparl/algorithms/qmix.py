"""QMIX: monotonic value function factorisation (Rashid et al., ICML 2018)."""

from functools import partial

from sparl.algorithms.value_decomposition import ValueDecomposition
from sparl.config import NetworkConfig
from sparl.nets import qmix_mixer
from sparl.spec import EnvSpec
from sparl.targets import Target


def qmix(spec: EnvSpec, network: NetworkConfig, target: Target) -> ValueDecomposition:
    """QMIX with PyMARL's networks, hypernetworks of two layers included."""
    return ValueDecomposition(
        name="qmix",
        spec=spec,
        target=target,
        hidden=network.hidden,
        init_mixer=partial(
            qmix_mixer.init,
            state_dim=spec.state_dim,
            num_agents=spec.num_agents,
            embed=network.embed,
            hypernet=network.hypernet,
        ),
        mix=qmix_mixer.mix,
    )
