"""Training: rollout, learner, loop, evaluation, checkpoints and logging."""
