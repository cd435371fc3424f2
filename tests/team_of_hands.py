"""A team with continuous actions, whose agents' observations and actions differ in length."""

import dataclasses

import numpy as np

from sparl.envs import TimeStep
from sparl.presets import defaults
from sparl.spec import ControlSpec


class Hands:
    """One hand is to be where it sees a number, the other has two fingers to put at two more.

    The state has all three numbers. A step is worth 1 less the squared distances.
    """

    spec = ControlSpec(
        obs_dim=6, action_dim=3, episode_limit=10, obs_dims=(1, 2), action_dims=(1, 2)
    )

    def reset(self, seed):
        self._random, self._steps = np.random.default_rng(seed), 0
        return self._seen(0.0)

    def step(self, actions):
        self._steps += 1
        return self._seen(1 - float(np.sum((np.asarray(actions) - self._wanted) ** 2)))

    def close(self):
        pass

    def _seen(self, reward):
        self._wanted = self._random.uniform(-0.9, 0.9, size=3)
        return TimeStep(
            obs=np.concatenate([self._wanted, self._wanted]).astype(np.float32),
            state=np.zeros(0),
            avail_actions=np.zeros(0),
            reward=reward,
            terminated=False,
            truncated=self._steps == 10,
            won=False,
        )


def config_of(method, **settings):
    """A small COMIX on `Hands`; settings in groups as `target={"kind": ...}`."""
    config = defaults("comix", method)
    settings = {
        "env": "python:team_of_hands:Hands",
        "network": {"hidden": 16, "embed": 8, "hypernet": 8},
        "control": {"random_steps": 400, "cem_samples": 16, "cem_elites": 4},
        "replay": {"capacity": 2000, "batch_size": 32}
        | ({"window": 200, "window_batch": 8} if method == "mast" else {})
        | ({"review_interval": 20} if method == "rlx2" else {}),
        "topology": {} if method in ("dense", "static") else {"interval": 20},
        **({"sparsity": 0.5} if method != "dense" else {}),
        **settings,
    }
    own = {"rlx2": {"min_replay": 1000}, "ds": {"finish": 0.8}}
    settings["control"] = settings["control"] | own.get(method, {})
    return changed(config, settings)


def changed(config, settings):
    """With other settings, those in groups as dicts."""
    for name, value in settings.items():
        own = value
        if isinstance(value, dict):
            own = dataclasses.replace(getattr(config, name), **value)
        config = dataclasses.replace(config, **{name: own})
    return config
