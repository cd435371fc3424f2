"""The value-based algorithms in plain NumPy and float64, from the papers and PyMARL's shapes.

Nothing here knows of feature-major layouts, masks or JAX: arrays are [batch, ...] and loops are
loops.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(layer, x):
    return layer["w"] @ x + layer["b"]


def gru(layer, x, h):
    """torch.nn.GRUCell: r, z, n; n = tanh(W_in x + b_in + r * (W_hn h + b_hn))."""
    size = len(h)
    i, j = layer["w_ih"] @ x + layer["b_ih"], layer["w_hh"] @ h + layer["b_hh"]
    r = sigmoid(i[:size] + j[:size])
    z = sigmoid(i[size : 2 * size] + j[size : 2 * size])
    n = np.tanh(i[2 * size :] + r * j[2 * size :])
    return (1 - z) * n + z * h


def agent_qs(agent, episode):
    """Q-values [T + 1, n, A] of one episode."""
    obs, actions = episode["obs"], episode["actions"]
    steps, n, _ = obs.shape
    num_actions = agent["fc2"]["w"].shape[0]
    q = np.zeros((steps, n, num_actions))
    for i in range(n):
        h = np.zeros(agent["rnn"]["w_hh"].shape[1])
        for t in range(steps):
            last = np.zeros(num_actions)
            if t > 0:
                last[actions[t - 1, i]] = 1
            x = np.concatenate([obs[t, i], last, np.eye(n)[i]])
            h = gru(agent["rnn"], np.maximum(linear(agent["fc1"], x), 0), h)
            q[t, i] = linear(agent["fc2"], h)
    return q


def two_layers(layers, x):
    return linear(layers["1"], np.maximum(linear(layers["0"], x), 0))


def mix_qmix(mixer, qs, state):
    """Rashid et al. (2018): hypernetworks give W1 [n, embed] and w_f, biases from the state."""
    w1 = np.abs(two_layers(mixer["hyper_w1"], state)).reshape(len(qs), -1)
    hidden = qs @ w1 + linear(mixer["hyper_b1"], state)
    hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
    wf = np.abs(two_layers(mixer["hyper_wf"], state))
    return hidden @ wf + two_layers(mixer["value"], state)[0]


def mix_vdn(mixer, qs, state):
    return qs.sum()


def mix_central(mixer, qs, state):
    """Rashid et al. (2020): an MLP of three hidden layers on [state, qs], plus V(state)."""
    x = np.concatenate([state, qs])
    for i in range(3):
        x = np.maximum(linear(mixer["net"][str(i)], x), 0)
    return linear(mixer["net"]["3"], x)[0] + two_layers(mixer["value"], state)[0]


def double_q(online, target, avail):
    return target[np.argmax(np.where(avail, online, -np.inf))]


def soft_mellowmax(online, target, avail, alpha=1.0, omega=100.0):
    q = target[avail]
    weights = np.exp(alpha * (q - q.max()))
    return np.log((weights / weights.sum()) @ np.exp(omega * q)) / omega


def mellowmax(online, target, avail):
    return soft_mellowmax(online, target, avail, alpha=0.0)


def softmax(online, target, avail, alpha=1.0):
    q = target[avail]
    weights = np.exp(alpha * (q - q.max()))
    return weights @ q / weights.sum()


def maximum(online, target, avail):
    return target[avail].max()


def by_agent(operator):
    """An operator on joint values: each agent by itself, mixed by the target's mixer."""

    def value(online_mix, target_mix, online, target, avail):
        agents = range(len(online))
        return target_mix(np.array([operator(online[i], target[i], avail[i]) for i in agents]))

    return value


def subspace_softmax(online_mix, target_mix, online, target, avail, beta=5.0):
    """Pan et al. (2021): all joint actions in which one agent alone leaves the greedy one."""
    agents = np.arange(len(online))
    greedy = np.array([np.argmax(np.where(avail[i], online[i], -np.inf)) for i in agents])
    weights, values = [], []
    for i in agents:
        for action in np.flatnonzero(avail[i]):
            joint = greedy.copy()
            joint[i] = action
            weights.append(beta * online_mix(online[agents, joint]))
            values.append(target_mix(target[agents, joint]))
    weights = np.exp(np.array(weights) - max(weights))
    return weights @ np.array(values) / weights.sum()


def returns(rewards, next_values, terminated, gamma, lam):
    """The lambda-return as the sum of n-step returns that defines it."""
    steps = len(rewards)
    out = np.zeros(steps)
    for t in range(steps):
        left = steps - t
        n_step = []
        for n in range(1, left + 1):
            total = sum(gamma**k * rewards[t + k] for k in range(n))
            if not (terminated and n == left):
                total += gamma**n * next_values[t + n - 1]
            n_step.append(total)
        out[t] = (1 - lam) * sum(lam ** (n - 1) * g for n, g in enumerate(n_step[:-1], 1))
        out[t] += lam ** (left - 1) * n_step[-1]
    return out


def n_step_returns(rewards, next_values, terminated, gamma, n):
    """Up to n rewards, then the value of the state that they lead to, if it is not terminal."""
    steps = len(rewards)
    out = np.zeros(steps)
    for t in range(steps):
        left = min(n, steps - t)
        out[t] = sum(gamma**k * rewards[t + k] for k in range(left))
        if not (terminated and t + left == steps):
            out[t] += gamma**left * next_values[t + left - 1]
    return out


def chosen(q, actions):
    return q[np.arange(len(actions)), actions]


def loss(frozen, target_params, episodes, *, mix, operator, gamma, lam, regulariser=0.0):
    """Mean squared TD error over all steps of all episodes, and the distance from the return.

    Returns it as a function of the online parameters. Targets depend on `frozen`, a copy of these.
    """
    targets = []
    for episode in episodes:
        frozen_q = agent_qs(frozen["agent"], episode)
        target_q = agent_qs(target_params["agent"], episode)
        state, rewards = episode["state"], episode["rewards"]

        def value(t, q=frozen_q, target_q=target_q, state=state, avail=episode["avail"]):
            return operator(
                lambda qs: mix(frozen["mixer"], qs, state[t]),
                lambda qs: mix(target_params["mixer"], qs, state[t]),
                q[t],
                target_q[t],
                avail[t],
            )

        next_values = [value(t + 1) for t in range(len(rewards))]
        targets.append(returns(rewards, next_values, episode["terminated"], gamma, lam))

    def of(params):
        losses = []
        for episode, target in zip(episodes, targets, strict=True):
            q = agent_qs(params["agent"], episode)
            state, rewards = episode["state"], episode["rewards"]
            for t in range(len(rewards)):
                total = mix(params["mixer"], chosen(q[t], episode["actions"][t]), state[t])
                realised = sum(gamma**k * reward for k, reward in enumerate(rewards[t:]))
                losses.append((total - target[t]) ** 2 + regulariser * (total - realised) ** 2)
        return np.mean(losses)

    return of


def weighted_loss(frozen, target_params, episodes, *, optimistic, operator, gamma, lam, alpha):
    """Rashid et al. (2020): QMIX's weighted error and the unrestricted net's, one target.

    As a function of the online parameters, like `loss`.
    """
    targets, better = [], []  # Better than the best action, which CW-QMIX asks for.
    for episode in episodes:
        frozen_q = agent_qs(frozen["agent"], episode)
        target_q = agent_qs(target_params["central_agent"], episode)
        state, rewards, avail = episode["state"], episode["rewards"], episode["avail"]

        def value(t, q=frozen_q, target_q=target_q, state=state, avail=avail):
            return operator(
                lambda qs: mix_qmix(frozen["mixer"], qs, state[t]),
                lambda qs: mix_central(target_params["central_mixer"], qs, state[t]),
                q[t],
                target_q[t],
                avail[t],
            )

        steps = range(len(rewards))
        next_values = [value(t + 1) for t in steps]
        target = returns(rewards, next_values, episode["terminated"], gamma, lam)
        greedy = np.argmax(np.where(avail[:-1], frozen_q[:-1], -np.inf), axis=-1)
        is_greedy = (episode["actions"] == greedy).all(axis=-1)
        targets.append(target)
        better.append([is_greedy[t] or target[t] > value(t) for t in steps])

    def of(params):
        losses = []
        for episode, target, in_full in zip(episodes, targets, better, strict=True):
            q = agent_qs(params["agent"], episode)
            central_q = agent_qs(params["central_agent"], episode)
            state = episode["state"]
            for t, actions in enumerate(episode["actions"]):
                total = mix_qmix(params["mixer"], chosen(q[t], actions), state[t])
                star = mix_central(params["central_mixer"], chosen(central_q[t], actions), state[t])
                weight = 1.0 if (total < target[t] if optimistic else in_full[t]) else alpha
                losses.append(weight * (total - target[t]) ** 2 + (star - target[t]) ** 2)
        return np.mean(losses)

    return of
