"""QMIX: monotonic value function factorisation (Rashid et al., ICML 2018)."""

from functools import partial

from sparl.algorithms.agents import agent_net
from sparl.algorithms.parts import Mixer
from sparl.algorithms.value_decomposition import ValueDecomposition
from sparl.config import Config, NetworkConfig
from sparl.nets import qmix_mixer
from sparl.spec import ControlSpec, EnvSpec
from sparl.targets import Target


def qmix(spec: EnvSpec, config: Config, target: Target) -> ValueDecomposition:
    """QMIX with PyMARL's networks, hypernetworks of two layers included."""
    return ValueDecomposition(
        name="qmix",
        spec=spec,
        target=target,
        hidden=config.network.hidden,
        net=agent_net(spec, config.network),
        mixer=monotonic_mixer(spec, config.network),
    )


def monotonic_mixer(spec: EnvSpec | ControlSpec, network: NetworkConfig) -> Mixer:
    """QMIX's mixer."""
    return Mixer(
        init=partial(
            qmix_mixer.init,
            state_dim=spec.state_dim,
            num_agents=spec.num_agents,
            embed=network.embed,
            hypernet=network.hypernet,
        ),
        prepare=qmix_mixer.prepare,
        mix=qmix_mixer.mix,
        deviate=qmix_mixer.deviate,
    )
