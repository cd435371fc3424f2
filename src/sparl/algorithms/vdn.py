"""VDN: value decomposition networks (Sunehag et al., AAMAS 2018)."""

from sparl.algorithms.value_decomposition import ValueDecomposition
from sparl.config import NetworkConfig
from sparl.nets import vdn_mixer
from sparl.spec import EnvSpec
from sparl.targets import Target


def vdn(spec: EnvSpec, network: NetworkConfig, target: Target) -> ValueDecomposition:
    """VDN with PyMARL's agent; `Q_tot` is the sum of the agents' Q-values."""
    return ValueDecomposition(
        name="vdn",
        spec=spec,
        target=target,
        hidden=network.hidden,
        init_mixer=lambda _: vdn_mixer.init(),
        mix=vdn_mixer.mix,
    )
