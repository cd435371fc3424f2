"""TD3 and SAC in plain NumPy and float64: columns are dicts, and loops are loops."""

import numpy as np


def mlp(layers, x):
    for i in range(len(layers)):
        layer = layers[str(i)]
        x = layer["w"] @ x + layer["b"]
        if i + 1 < len(layers):
            x = np.maximum(x, 0)
    return x


def q(params, name, obs, action):
    return mlp(params[name], np.concatenate([obs, action]))[0]


def followed(step, rewards):
    """How many rewards the return of a step has."""
    count = 1
    while count < rewards and count < len(step["reward"]) and step["included"][count]:
        count += 1
    return count


def target(step, rewards, gamma, value):
    """The return of one step, `value` being a function of what was seen after k rewards."""
    count = followed(step, rewards)
    total = sum(gamma**k * step["reward"][k] for k in range(count))
    if not any(step["terminated"][:count]):
        total += gamma**count * value(step["next_obs"][count - 1])
    return total


def td3_target(old, step, noise, *, rewards, gamma=0.99, clip=0.5):
    def value(obs):
        action = np.tanh(mlp(old["actor"], obs)) + np.clip(noise, -clip, clip)
        action = np.clip(action, -1, 1)
        return min(q(old, "critic1", obs, action), q(old, "critic2", obs, action))

    return target(step, rewards, gamma, value)


def critic_loss(params, steps, targets):
    def error(name):
        pairs = zip(steps, targets, strict=True)
        return np.mean([(q(params, name, s["obs"], s["action"]) - y) ** 2 for s, y in pairs])

    return error("critic1") + error("critic2")


def td3_actor_loss(params, steps):
    return -np.mean(
        [q(params, "critic1", s["obs"], np.tanh(mlp(params["actor"], s["obs"]))) for s in steps]
    )


def draw(params, obs, noise):
    """A squashed Gaussian action and its log-density, by the change of variables itself."""
    mean, log_std = np.split(mlp(params["actor"], obs), 2)
    std = np.exp(np.clip(log_std, -20, 2))
    raw = mean + std * noise
    density = np.exp(-0.5 * noise**2) / (std * np.sqrt(2 * np.pi))
    # The derivative of tanh is one over the square of cosh.
    return np.tanh(raw), np.sum(np.log(density) + 2 * np.log(np.cosh(raw)))


def sac_target(params, old, step, noise, way_noise, *, rewards, gamma=0.99):
    alpha = np.exp(params["temperature"]["log"])

    def value(obs):
        action, log_density = draw(params, obs, noise)
        least = min(q(old, "critic1", obs, action), q(old, "critic2", obs, action))
        return least - alpha * log_density

    total = target(step, rewards, gamma, value)
    for k in range(1, followed(step, rewards)):
        _, log_density = draw(params, step["next_obs"][k - 1], way_noise[k - 1])
        total -= gamma**k * alpha * log_density
    return total


def sac_actor_loss(params, steps, noise):
    losses = []
    for step, own in zip(steps, noise, strict=True):
        action, log_density = draw(params, step["obs"], own)
        least = min(q(params, name, step["obs"], action) for name in ("critic1", "critic2"))
        losses.append(np.exp(params["temperature"]["log"]) * log_density - least)
    return np.mean(losses)


def sac_temperature_loss(params, steps, noise, action_dim, log):
    """With the temperature's logarithm given, as the policy does not learn from it."""
    logs = [draw(params, s["obs"], own)[1] for s, own in zip(steps, noise, strict=True)]
    return -np.exp(log) * (np.mean(logs) - action_dim)
