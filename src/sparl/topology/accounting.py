"""Model size and FLOPs of a sparse learner beside those of its dense twin.

The counting is that of MAST (Hu et al., NeurIPS 2024, arXiv 2409.19391, appendix B.4): a linear
layer of density `d` holds `d I O` weights and costs `d (2I - 1) O` FLOPs, a GRU of width `h` costs
`d 3h (2(h + I) - 1)`, and a backward pass costs two forward passes. Acting during training, copies
into the target networks and topology updates are left out.

Those formulas alone give `1 - sparsity` in every cell of the paper's Table 1. The printed values
follow once three things stay as they are in practice; these readings are ours, not the paper's:

- biases are dense, and the size counts every copy of a network that training keeps;
- the agent network, shared by all agents, is stored once and evaluated once per agent;
- what a mixer multiplies with the agents' values are activations, which no topology thins out.

With them all 36 cells agree within 0.001. That shows the count to be consistent with the table, not
that its authors counted so; for the size of WQMIX other numbers of copies fit as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sparl.errors import InputError, unknown_name
from sparl.presets import TEAM


@dataclass(frozen=True)
class Layer:
    """One weight matrix with its bias.

    Attributes:
        name: Path of the weight in the parameter tree, e.g. `agent/fc1/w`.
        inputs: Width of what goes in, `I`.
        outputs: Width of what comes out, `O`.
        accumulates: Whether the result is added to another layer's, as a GRU adds the products of
            its two matrices. That is one more addition per output.
    """

    name: str
    inputs: int
    outputs: int
    accumulates: bool = False

    @property
    def weights(self) -> int:
        """Number of weights when dense."""
        return self.inputs * self.outputs

    @property
    def biases(self) -> int:
        """Number of biases, which are always dense."""
        return self.outputs

    def parameters(self, density: float = 1.0) -> float:
        """Number of weights and biases at a density."""
        return density * self.weights + self.biases

    def flops(self, density: float = 1.0) -> float:
        """FLOPs of the forward pass of one sample at a density (MAST, B.4)."""
        per_output = 2 * self.inputs - (0 if self.accumulates else 1)
        return density * per_output * self.outputs


def agent_layers(
    obs_dim: int, num_actions: int, num_agents: int, *, hidden: int = 64, prefix: str = "agent"
) -> tuple[Layer, ...]:
    """The recurrent agent of PyMARL; it also sees its last action and its id, both one-hot."""
    return (
        Layer(f"{prefix}/fc1/w", obs_dim + num_actions + num_agents, hidden),
        Layer(f"{prefix}/rnn/w_ih", hidden, 3 * hidden),
        Layer(f"{prefix}/rnn/w_hh", hidden, 3 * hidden, accumulates=True),
        Layer(f"{prefix}/fc2/w", hidden, num_actions),
    )


def qmix_mixer_layers(
    state_dim: int, num_agents: int, *, embed: int = 32, hypernet: int = 64
) -> tuple[Layer, ...]:
    """The hypernetworks of QMIX's mixer, as deep as PyMARL has them for SMAC."""
    return (
        Layer("mixer/hyper_w1/0/w", state_dim, hypernet),
        Layer("mixer/hyper_w1/1/w", hypernet, num_agents * embed),
        Layer("mixer/hyper_wf/0/w", state_dim, hypernet),
        Layer("mixer/hyper_wf/1/w", hypernet, embed),
        Layer("mixer/hyper_b1/w", state_dim, embed),
        Layer("mixer/value/0/w", state_dim, embed),
        Layer("mixer/value/1/w", embed, 1),
    )


def qmix_mixing_flops(num_agents: int, *, embed: int = 32) -> int:
    """FLOPs of the two products between activations in QMIX's mixer, dense at any sparsity."""
    return (2 * num_agents - 1) * embed + (2 * embed - 1)


def central_mixer_layers(
    state_dim: int, num_agents: int, *, central_embed: int = 256
) -> tuple[Layer, ...]:
    """The unrestricted mixer of WQMIX (Rashid et al., NeurIPS 2020): a plain MLP plus V(s)."""
    return (
        Layer("central_mixer/net/0/w", state_dim + num_agents, central_embed),
        Layer("central_mixer/net/1/w", central_embed, central_embed),
        Layer("central_mixer/net/2/w", central_embed, central_embed),
        Layer("central_mixer/net/3/w", central_embed, 1),
        Layer("central_mixer/value/0/w", state_dim, central_embed),
        Layer("central_mixer/value/1/w", central_embed, 1),
    )


@dataclass(frozen=True)
class Counts:
    """What a learner holds and computes at one set of densities.

    Attributes:
        parameters: Weights and biases of all networks that are trained, each counted once.
        stored: The same, counting every copy that training keeps, target networks included.
        train_flops: FLOPs of one update per batch element and time step.
        test_flops: FLOPs of all agents choosing their actions once.
    """

    parameters: float
    stored: float
    train_flops: float
    test_flops: float


@dataclass(frozen=True)
class Accounting:
    """A sparse learner beside its dense twin; see `Counts` for the units."""

    dense: Counts
    sparse: Counts

    @property
    def size_ratio(self) -> float:
        """What the sparse learner stores over what the dense one does ("Total Size")."""
        return self.sparse.stored / self.dense.stored

    @property
    def parameters(self) -> dict[str, int]:
        """Parameter counts, to the nearest whole number."""
        return {"dense": round(self.dense.parameters), "sparse": round(self.sparse.parameters)}

    @property
    def flops(self) -> dict[str, float]:
        """FLOP ratios ("FLOPs (Train)" and "FLOPs (Test)") and the counts that they come from."""
        return {
            "train_ratio": self.sparse.train_flops / self.dense.train_flops,
            "test_ratio": self.sparse.test_flops / self.dense.test_flops,
            "train_dense": round(self.dense.train_flops),
            "train_sparse": round(self.sparse.train_flops),
            "test_dense": round(self.dense.test_flops),
            "test_sparse": round(self.sparse.test_flops),
        }

    def to_json(self) -> dict[str, float | dict[str, float] | dict[str, int]]:
        """The ratios and counts as plain numbers in nested dicts."""
        return {"size_ratio": self.size_ratio, "flops": self.flops, "parameters": self.parameters}


def account(
    algorithm: str,
    *,
    obs_dim: int,
    state_dim: int | None = None,
    num_actions: int,
    num_agents: int,
    sparsity: float,
    hidden: int = 64,
    embed: int = 32,
    hypernet: int = 64,
    central_embed: int = 256,
    agent_networks: int = 1,
    densities: Mapping[str, float] | None = None,
) -> Accounting:
    """Counts the parameters and FLOPs of a learner (MAST, B.4 and Table 1).

    Args:
        algorithm: One of `sparl.presets.TEAM`.
        obs_dim: Width of one agent's observation, without its last action and id.
        state_dim: Width of the global state; VDN has no use for it.
        num_actions: Actions per agent.
        num_agents: Number of agents.
        sparsity: Fraction of the weights that are absent, the same in every layer.
        hidden: Width of the agent.
        embed: Width of the mixer's hidden layer.
        hypernet: Width of the mixer's two-layer hypernetworks.
        central_embed: Width of the unrestricted mixer of OW-QMIX and CW-QMIX.
        agent_networks: How many networks the agents have together; 1 if they share it.
        densities: Fraction of the weights present by layer name, for every layer of the learner,
            e.g. as measured on a run. Replaces `sparsity`.

    Raises:
        InputError: If a name is unknown, a width is not positive, a layer's density is missing, or
            a fraction lies outside its range.
    """
    if algorithm not in TEAM:
        raise unknown_name("algorithm", algorithm, TEAM)
    if state_dim is None:
        if algorithm != "vdn":
            raise InputError(f"{algorithm} mixes by the global state: pass its width, state_dim")
        state_dim = 1  # Of a mixer that VDN does not have.
    widths = {
        "obs_dim": obs_dim,
        "state_dim": state_dim,
        "num_actions": num_actions,
        "num_agents": num_agents,
        "hidden": hidden,
        "embed": embed,
        "hypernet": hypernet,
        "central_embed": central_embed,
        "agent_networks": agent_networks,
    }
    for name, width in widths.items():
        if width < 1:
            raise InputError(f"{name} must be at least 1, got {width}")
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity must lie in [0, 1), got {sparsity}")

    parts = _parts(algorithm, **widths)
    names = [layer.name for part in parts for layer in part.layers]
    if densities is None:
        densities = dict.fromkeys(names, 1 - sparsity)
    return tally(parts, densities, chosen=num_agents)


@dataclass(frozen=True)
class Part:
    """A network, how many copies training keeps, and how many forward passes an update is worth."""

    layers: tuple[Layer, ...]
    copies: int
    passes: float
    extra_flops: int = 0  # Of one forward pass, beside the layers; dense.
    networks: int = 1  # Of this shape.

    def parameters(self, densities: Mapping[str, float]) -> float:
        """Number of weights and biases at densities by layer name."""
        return self.networks * sum(layer.parameters(densities[layer.name]) for layer in self.layers)

    def flops(self, densities: Mapping[str, float]) -> float:
        """FLOPs of the forward pass of one sample at densities by layer name."""
        return self.extra_flops + sum(layer.flops(densities[layer.name]) for layer in self.layers)


def tally(parts: list[Part], densities: Mapping[str, float], *, chosen: int) -> Accounting:
    """Counts parameters and FLOPs of networks, the one that acts first.

    Args:
        parts: The networks.
        densities: Fraction of the weights present by layer name, of every layer.
        chosen: Forward passes of the first network by which all agents choose their actions once.

    Raises:
        InputError: If a layer's density is missing or lies outside [0, 1].
    """
    names = [layer.name for part in parts for layer in part.layers]
    _check_densities(densities, names)

    def count(densities: Mapping[str, float]) -> Counts:
        return Counts(
            parameters=sum(part.parameters(densities) for part in parts),
            stored=sum(part.copies * part.parameters(densities) for part in parts),
            train_flops=sum(part.passes * part.flops(densities) for part in parts),
            test_flops=chosen * parts[0].flops(densities),
        )

    return Accounting(dense=count(dict.fromkeys(names, 1.0)), sparse=count(densities))


def _parts(
    algorithm: str,
    *,
    obs_dim: int,
    state_dim: int,
    num_actions: int,
    num_agents: int,
    hidden: int,
    embed: int,
    hypernet: int,
    central_embed: int,
    agent_networks: int,
) -> list[Part]:
    """The networks of an algorithm, the agent first.

    One update is a forward and a backward pass of the online network, worth three forward passes,
    and one forward pass of the target network where there is one.
    """
    agent = agent_layers(obs_dim, num_actions, num_agents, hidden=hidden)
    mixer = qmix_mixer_layers(state_dim, num_agents, embed=embed, hypernet=hypernet)
    mixing = qmix_mixing_flops(num_agents, embed=embed)
    match algorithm:
        case "qmix":
            return [
                Part(agent, copies=2, passes=4 * num_agents, networks=agent_networks),
                Part(mixer, copies=2, passes=4, extra_flops=mixing),
            ]
        case "vdn":
            return [
                Part(agent, copies=2, passes=4 * num_agents, networks=agent_networks),
                Part((), copies=2, passes=4, extra_flops=num_agents - 1),
            ]
        case "res":
            # The target weighs n x A joint actions, each by its online and its target value.
            return [
                Part(agent, copies=2, passes=4 * num_agents, networks=agent_networks),
                Part(
                    mixer,
                    copies=2,
                    passes=3 + 2 * num_agents * num_actions,
                    extra_flops=mixing,
                ),
            ]
        case _:
            # Only the unrestricted networks bootstrap, so only they have target copies. CW's test
            # against the greedy value reads what the target has computed one step earlier.
            twin = agent_layers(
                obs_dim, num_actions, num_agents, hidden=hidden, prefix="central_agent"
            )
            central = central_mixer_layers(state_dim, num_agents, central_embed=central_embed)
            return [
                Part(agent, copies=1, passes=3 * num_agents, networks=agent_networks),
                Part(mixer, copies=1, passes=3, extra_flops=mixing),
                Part(twin, copies=2, passes=4 * num_agents, networks=agent_networks),
                Part(central, copies=2, passes=4),
            ]


def _check_densities(densities: Mapping[str, float], names: list[str]) -> None:
    for name, density in densities.items():
        if name not in names:
            raise unknown_name("layer", name, names)
        if not 0 <= density <= 1:
            raise InputError(f"density of {name} must lie in [0, 1], got {density}")
    if missing := [name for name in names if name not in densities]:
        raise InputError(f"densities must name every layer, missing {', '.join(missing)}")
