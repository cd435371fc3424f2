"""QMIX and VDN in plain NumPy and float64, written from the papers and from PyMARL's shapes.

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


def double_q(online, target, avail):
    return target[np.argmax(np.where(avail, online, -np.inf))]


def soft_mellowmax(online, target, avail, alpha=1.0, omega=10.0):
    q = target[avail]
    weights = np.exp(alpha * (q - q.max()))
    return np.log((weights / weights.sum()) @ np.exp(omega * q)) / omega


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


def loss(params, target_params, episodes, *, mix, operator, gamma, lam):
    """Mean squared TD error over all steps of all episodes."""
    errors = []
    for episode in episodes:
        q = agent_qs(params["agent"], episode)
        target_q = agent_qs(target_params["agent"], episode)
        steps, n = episode["actions"].shape
        next_values = []
        for t in range(1, steps + 1):
            values = [operator(q[t, i], target_q[t, i], episode["avail"][t, i]) for i in range(n)]
            next_values.append(mix(target_params["mixer"], np.array(values), episode["state"][t]))
        targets = returns(episode["rewards"], next_values, episode["terminated"], gamma, lam)
        for t in range(steps):
            chosen = np.array([q[t, i, episode["actions"][t, i]] for i in range(n)])
            total = mix(params["mixer"], chosen, episode["state"][t])
            errors.append(total - targets[t])
    return np.mean(np.square(errors))
