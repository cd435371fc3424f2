"""VDN: value decomposition networks (Sunehag et al., AAMAS 2018)."""

from sparl.algorithms.agents import agent_net
from sparl.algorithms.parts import Mixer
from sparl.algorithms.value_decomposition import ValueDecomposition
from sparl.config import Config
from sparl.nets import vdn_mixer
from sparl.spec import EnvSpec
from sparl.targets import Target


def vdn(spec: EnvSpec, config: Config, target: Target) -> ValueDecomposition:
    """VDN with PyMARL's agent; `Q_tot` is the sum of the agents' Q-values."""
    return ValueDecomposition(
        name="vdn",
        spec=spec,
        target=target,
        hidden=config.network.hidden,
        net=agent_net(spec, config.network),
        mixer=Mixer(
            init=lambda _: vdn_mixer.init(),
            prepare=vdn_mixer.prepare,
            mix=vdn_mixer.mix,
            deviate=vdn_mixer.deviate,
        ),
    )
