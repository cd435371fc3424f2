r"""What an env step of TD3 costs here, in CleanRL and in Stable-Baselines3, training whole.

    python -m venv sb3
    sb3/bin/pip install stable-baselines3 'gymnasium[mujoco]'
    git clone https://github.com/vwxyzjn/cleanrl
    python -m venv cleanrl/venv
    cleanrl/venv/bin/pip install torch tyro tensorboard 'numpy<2' 'mujoco<3' \
        'gymnasium[mujoco]==0.29.1'
    python benchmarks/control_peers.py --sb3 sb3/bin/python --cleanrl cleanrl

Each program trains with two hidden layers of 256 and one update for each env step, twice: the
difference between a longer and a shorter run has no start and no compilation in it. They take
turns, so that ratios hold although the machine's speed drifts. RLx2's links move every 10,000
updates, which is not reached. CleanRL goes with the Gymnasium that it asks for, whose HalfCheetah
is version 4.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import arguments, report

RANDOM = 1000
"""Env steps before learning begins."""


def commands(sb3: Path, cleanrl: Path, env: str, steps: int) -> dict[str, list[str]]:
    """The program by the batch size and who is asked."""

    def sparl(method: str, batch: int, *flags: str) -> list[str]:
        never = str(2 * steps)
        return [
            *(sys.executable, "-m", "sparl.cli", "train", "--algorithm=td3", f"--env=gym:{env}-v5"),
            *("--method", method, f"--total-steps={steps}", f"--control.random-steps={RANDOM}"),
            *(f"--replay.batch-size={batch}", "--eval-episodes=1", f"--eval-every={never}"),
            *(f"--checkpoint-every={never}", "--run-dir=run", *flags),
        ]

    def stable_baselines(batch: int) -> list[str]:
        script = str(Path(__file__).with_name("sb3_td3.py"))
        return [str(sb3), script, f"{env}-v5", str(steps), str(batch), str(RANDOM)]

    def clean(batch: int) -> list[str]:
        python = str(cleanrl / "venv" / "bin" / "python")
        script = str(cleanrl / "cleanrl" / "td3_continuous_action.py")
        return [
            *(python, script, f"--env-id={env}-v4", f"--total-timesteps={steps}", "--no-cuda"),
            *(f"--learning-starts={RANDOM}", f"--batch-size={batch}"),
        ]

    return {
        "100: sparl, dense": sparl("dense", 100),
        "100: sparl, DS": sparl("ds", 100, "--compute=sparse", "--control.finish=1"),
        "100: CleanRL": clean(100),
        "100: Stable-Baselines3": stable_baselines(100),
        "256: sparl, dense": sparl("dense", 256),
        "256: sparl, RLx2": sparl("rlx2", 256, "--compute=sparse"),
        "256: CleanRL": clean(256),
        "256: Stable-Baselines3": stable_baselines(256),
    }


def seconds(command: list[str], path: str) -> float:
    """How long a program takes, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | ({"PYTHONPATH": path} if path in command[1] else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
        return time.perf_counter() - begun


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--env", default="HalfCheetah", help="its name without the version")
    parser.add_argument("--sb3", type=Path, required=True, help="Python with Stable-Baselines3")
    parser.add_argument("--cleanrl", type=Path, required=True, help="a checkout of CleanRL")
    parser.add_argument("--steps", type=int, nargs=2, default=(2000, 7000), metavar="ENV_STEPS")
    args = parser.parse_args()
    few, many = (
        commands(args.sb3.absolute(), args.cleanrl.absolute(), args.env, steps)
        for steps in args.steps
    )
    path = str(args.cleanrl.absolute())
    costs: dict[str, list[float]] = {name: [] for name in few}
    for _ in range(args.repeats):
        for name, readings in costs.items():
            longer, shorter = (seconds(each[name], path) for each in (many, few))
            readings.append(1e6 * (longer - shorter) / (args.steps[1] - args.steps[0]))
    rows, shown = [], []
    for name, readings in costs.items():
        batch = name.split(":")[0]
        dense = costs[f"{batch}: sparl, dense"]
        ratio = statistics.median(a / b for a, b in zip(dense, readings, strict=True))
        cost = statistics.median(readings)
        rows.append({"program": name, "us_per_step": readings, "dense/this": ratio})
        shown.append(
            {
                "batch: program": name,
                "us per env step": f"{cost:.0f}",
                "env steps/s": f"{1e6 / cost:.0f}",
                "sparl's dense / this": f"{ratio:.2f}",
            }
        )
    report(f"TD3 on {args.env}, medians", shown, {"env": args.env, "rows": rows}, args.json)


if __name__ == "__main__":
    main()
