"""The SMAC interface (Samvelyan et al., 2019) and its three packages: SMAC, SMACv2, SMAClite."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sparl.envs.base import TimeStep
from sparl.envs.requirements import require
from sparl.errors import InputError, SparlError, unknown_name
from sparl.spec import EnvSpec

LITE_LIMITS = {
    "10m_vs_11m": 150,
    "27m_vs_30m": 180,
    "2c_vs_64zg": 400,
    "2s3z": 120,
    "2s_vs_1sc": 300,
    "3s5z": 150,
    "3s5z_vs_3s6z": 170,
    "3s_vs_5z": 250,
    "bane_vs_bane": 200,
    "corridor": 400,
    "mmm": 150,
    "mmm2": 180,
}
"""SMAC's time limits for the maps of SMAClite, which has none of its own."""

RACES = {
    "protoss": (("stalker", "zealot", "colossus"), (0.45, 0.45, 0.1), ()),
    "terran": (("marine", "marauder", "medivac"), (0.45, 0.45, 0.1), ("medivac",)),
    "zerg": (("zergling", "baneling", "hydralisk"), (0.45, 0.1, 0.45), ("baneling",)),
}
"""Of each race of SMACv2 the units, their shares, and those that no team is made of alone."""


GAME = "https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip"
"""StarCraft II for Linux, as MAST has it."""

MAPS = {
    "smac": ("https://github.com/oxwhirl/smac/releases/download/v0.1-beta1/SMAC_Maps.zip", "Maps"),
    "smacv2": (
        "https://github.com/oxwhirl/smacv2/releases/download/maps/SMAC_Maps.zip",
        "Maps/SMAC_Maps",
    ),
}
"""Maps that each package needs in the game's folder, and where there they are unpacked."""


class GameBrokenError(SparlError):
    """The game died within an episode."""


class Smac:
    """A team of agents behind the SMAC interface (PyMARL's `MultiAgentEnv`).

    Args:
        make: Makes an environment from a seed. Its `step` returns the team's reward, whether the
            episode has ended, and a dictionary: `battle_won`, and `episode_limit` where it was
            time that ended it.
    """

    def __init__(self, make: Callable[[int], Any]):
        self._make = make
        self._env: Any = None
        env = make(0)
        sizes = env.get_env_info()
        env.close()
        self.spec = EnvSpec(
            num_agents=sizes["n_agents"],
            num_actions=sizes["n_actions"],
            obs_dim=sizes["obs_shape"],
            state_dim=sizes["state_shape"],
            episode_limit=sizes["episode_limit"],
        )

    def reset(self, seed: int) -> TimeStep:
        """Begin a battle. The game takes the first seed; later battles follow from it."""
        if self._env is None:
            self._env = self._make(seed)
        self._env.reset()
        return self._seen(0.0, terminated=False, truncated=False, won=False)

    def step(self, actions: Any) -> TimeStep:
        """Take one step.

        Raises:
            GameBrokenError: If the game has died.
        """
        reward, ended, info = self._env.step([int(action) for action in actions])
        if ended and "battle_won" not in info:
            # What SMAC returns where it has lost its game and started another one.
            raise GameBrokenError("the game died")
        truncated = bool(ended and info.get("episode_limit", False))
        won = bool(info.get("battle_won", False))
        return self._seen(reward, terminated=ended and not truncated, truncated=truncated, won=won)

    def close(self) -> None:
        """End the game."""
        if self._env is not None:
            self._env.close()

    def _seen(self, reward: float, *, terminated: bool, truncated: bool, won: bool) -> TimeStep:
        return TimeStep(
            obs=np.asarray(self._env.get_obs(), np.float32),
            state=np.asarray(self._env.get_state(), np.float32),
            avail_actions=np.asarray(self._env.get_avail_actions(), bool),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=truncated,
            won=won,
        )


class Lite:
    """SMAClite's environment, with SMAC's interface and time limit.

    Args:
        env: A `SMACliteEnv`.
        limit: Its time limit.
        seed: Of its first battle.
    """

    def __init__(self, env: Any, limit: int, seed: int):
        self._env, self._limit, self._seed = env, limit, seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def get_env_info(self) -> dict[str, int]:
        """Its sizes."""
        env = self._env
        return {
            "n_agents": env.n_agents,
            "n_actions": env.n_actions,
            "obs_shape": env.obs_size,
            "state_shape": env.state_size,
            "episode_limit": self._limit,
        }

    def reset(self) -> None:
        """Begin a battle."""
        self._env.reset(seed=self._seed)
        self._seed = None
        self._steps = 0

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, Any]]:
        """Take one step."""
        _, reward, ended, _, info = self._env.step(actions)
        self._steps += 1
        late = self._steps >= self._limit and not ended
        return reward, ended or late, info | {"episode_limit": late}


def smac(map_name: str) -> Smac:
    """StarCraft II by way of SMAC, e.g. `"3m"`.

    Raises:
        InputError: If SMAC or the game is missing, or the map is unknown.
    """
    _protobuf_in_python()
    install = "pip install git+https://github.com/oxwhirl/smac.git"
    note = f"{install} (`pip install smac` is another project)"
    module = require("smac.env", "smac", note)
    maps = require("smac.env.starcraft2.maps", "smac", note).get_smac_map_registry()
    if map_name not in maps:
        raise unknown_name("SMAC map", map_name, maps)
    _require_game("smac")

    def make(seed: int) -> Any:
        # Without `continuing_episode` it would not say that time has run out.
        return module.StarCraft2Env(map_name=map_name, seed=seed, continuing_episode=True)

    return Smac(make)


def smacv2(name: str) -> Smac:
    """StarCraft II by way of SMACv2, as `RACE_N_vs_M`, e.g. `"protoss_5_vs_5"`.

    Teams are drawn as in the configurations that SMACv2 comes with. It draws them from a generator
    of its own that no seed reaches.

    Raises:
        InputError: If SMACv2 or the game is missing, or the name is not of this form.
    """
    found = re.fullmatch(r"([a-z]+)_([1-9]\d?)_vs_([1-9]\d?)", name)
    if found is None or found[1] not in RACES:
        races = ", ".join(RACES)
        raise InputError(
            f"a battle of SMACv2 is named RACE_N_vs_M, e.g. 'protoss_5_vs_5', of {races}; got "
            f"{name!r}"
        )
    _protobuf_in_python()
    install = "pip install git+https://github.com/oxwhirl/smacv2.git"
    wrapper = require("smacv2.env.starcraft2.wrapper", "smacv2", install)
    _require_game("smacv2")
    units, weights, never_alone = RACES[found[1]]
    capabilities = {
        "n_units": int(found[2]),
        "n_enemies": int(found[3]),
        "team_gen": {
            "dist_type": "weighted_teams",
            "unit_types": list(units),
            "weights": list(weights),
            "exception_unit_types": list(never_alone),
            "observe": True,
        },
        "start_positions": {
            "dist_type": "surrounded_and_reflect",
            "p": 0.5,
            "map_x": 32,
            "map_y": 32,
        },
    }

    def make(seed: int) -> Any:
        return wrapper.StarCraftCapabilityEnvWrapper(
            capability_config=capabilities,
            map_name=f"10gen_{found[1]}",
            seed=seed,
            continuing_episode=True,
            obs_own_pos=True,
            use_unit_ranges=True,
            min_attack_range=2,
            conic_fov=False,
            num_fov_actions=12,
            action_mask=True,
            prob_obs_enemy=1.0,
        )

    return Smac(make)


def smaclite(map_name: str) -> Smac:
    """SMAC's battles without StarCraft II, e.g. `"2s3z"` (Michalski et al., 2023).

    Raises:
        InputError: If SMAClite is missing, or the map is unknown.
    """
    if map_name not in LITE_LIMITS:
        raise unknown_name("SMAClite map", map_name, LITE_LIMITS)
    # Its pin of Rtree does not import.
    install = (
        "pip install --no-deps git+https://github.com/uoe-agents/smaclite.git && "
        "pip install 'rtree>=1.4' pygame scikit-learn"
    )
    require("smaclite", "smaclite", install)
    gymnasium = require("gymnasium", "smaclite", install)

    def make(seed: int) -> Any:
        env = gymnasium.make(f"smaclite/{map_name}-v0", disable_env_checker=True)
        return Lite(env.unwrapped, LITE_LIMITS[map_name], seed)

    return Smac(make)


MAKERS: dict[str, Callable[[str], Smac]] = {"smac": smac, "smacv2": smacv2, "smaclite": smaclite}
"""The packages that speak the interface."""


def _protobuf_in_python() -> None:
    """As workers are started with it, for the one that this process makes for its sizes."""
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")


def _require_game(interface: str) -> None:
    """StarCraft II with the package's maps; both packages find out too late."""
    game = Path(os.environ.get("SC2PATH", "~/StarCraftII")).expanduser()
    archive, inside = MAPS[interface]
    maps = game / "Maps" / "SMAC_Maps"
    steps = {
        game / "Versions": f"curl -O {GAME} && unzip -P iagreetotheeula {Path(GAME).name} "
        f"-d {game.parent}",
        maps: f"curl -LO {archive} && unzip SMAC_Maps.zip -d {game / inside}",
    }
    if missing := [place for place in steps if not place.is_dir()]:
        raise InputError(
            f"{interface}: needs StarCraft II and SMAC's maps, and "
            f"{' and '.join(map(str, missing))} {'are' if len(missing) > 1 else 'is'} not there "
            "(set SC2PATH if the game is elsewhere; its zip is Blizzard's, whose terms the "
            f"password accepts): {' && '.join(steps[place] for place in missing)}"
        )
