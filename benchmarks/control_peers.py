r"""What an env step of TD3 costs here, in CleanRL and in Stable-Baselines3, training whole.

    python -m venv sb3
    sb3/bin/pip install stable-baselines3 'gymnasium[mujoco]'
    git clone https://github.com/vwxyzjn/cleanrl
    python -m venv cleanrl/venv
    cleanrl/venv/bin/pip install torch tyro tensorboard 'numpy<2' 'mujoco<3' \
        'gymnasium[mujoco]==0.29.1'
    python benchmarks/control_peers.py --sb3 sb3/bin/python --cleanrl cleanrl

Each program trains with two hidden layers of 256 and one update for each env step, twice: the
difference between a longer and a shorter run has no start in it, nor sparl's compilation, whose
seconds vary: it is kept from a first round. They take turns, so that ratios hold although the
machine's speed drifts. RLx2's links move every 10,000 updates, which is not reached. CleanRL goes
with the Gymnasium that it asks for, whose HalfCheetah is version 4.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
        "100: SB3": stable_baselines(100),
        "256: sparl, dense": sparl("dense", 256),
        "256: sparl, RLx2": sparl("rlx2", 256, "--compute=sparse"),
        "256: CleanRL": clean(256),
        "256: SB3": stable_baselines(256),
    }


def versions(sb3: Path, cleanrl: Path) -> dict[str, dict[str, str]]:
    """What the others are made of."""
    names = ("stable-baselines3", "torch", "gymnasium", "mujoco", "numpy")
    ask = f"""
import json
from importlib.metadata import distributions
found = {{(d.name or "").lower().replace("_", "-"): d.version for d in distributions()}}
print(json.dumps({{name: found[name] for name in {names} if name in found}}))
"""
    pythons = {"SB3": sb3, "CleanRL": cleanrl / "venv" / "bin" / "python"}
    found = {who: json.loads(_said([python, "-c", ask])) for who, python in pythons.items()}
    found["CleanRL"]["commit"] = _said(["git", "-C", cleanrl, "rev-parse", "--short", "HEAD"])
    return found


def _said(command: list[str | Path]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def seconds(command: list[str], path: str, compiled: str) -> float:
    """How long a program takes, in a folder of its own; what JAX compiles is kept in `compiled`."""
    variables = {
        "JAX_COMPILATION_CACHE_DIR": compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **({"PYTHONPATH": path} if path in command[1] else {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | variables,
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
    figures: dict[str, Any] = {"env": args.env, "versions": versions(args.sb3, args.cleanrl)}
    costs: dict[str, list[float]] = {name: [] for name in few}
    with tempfile.TemporaryDirectory() as compiled:
        for repeat in range(args.repeats + 1):
            for name, readings in costs.items():
                if repeat == 0 and "sparl" not in name:
                    continue  # There is nothing to compile.
                print(f"round {repeat} of {args.repeats}: {name}", file=sys.stderr)
                longer, shorter = (seconds(each[name], path, compiled) for each in (many, few))
                if repeat:
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
    report(f"TD3 on {args.env}, medians", shown, figures | {"rows": rows}, args.json)


if __name__ == "__main__":
    main()
