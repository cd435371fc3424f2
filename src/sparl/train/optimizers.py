"""The optimisers that the algorithms' papers use, as optax transformations of gradients."""

import jax
import optax

from sparl.compute import Tree
from sparl.config import Config, OptimizerConfig


def rmsprop(config: Config) -> optax.GradientTransformation:
    """RMSProp on clipped gradients, as PyMARL uses it for teams."""
    settings = config.optimizer
    # PyTorch adds eps to the root, outside of it.
    own = optax.rmsprop(settings.lr, decay=settings.decay, eps=settings.eps, eps_in_sqrt=False)
    return optax.chain(_clipping(settings), own)


def adam(config: Config) -> optax.GradientTransformation:
    """Adam on clipped gradients with the decay of all parameters but SAC's temperature."""

    def decays(params: Tree) -> Tree:
        return {
            name: jax.tree.map(lambda _, name=name: name != "temperature", tree)
            for name, tree in params.items()
        }

    settings = config.optimizer
    return optax.chain(
        _clipping(settings),
        optax.add_decayed_weights(config.control.weight_decay, mask=decays),
        optax.adam(settings.lr, eps=settings.eps),
    )


def _clipping(settings: OptimizerConfig) -> optax.GradientTransformation:
    return optax.clip_by_global_norm(settings.clip) if settings.clip else optax.identity()
