"""The project that `mlmake init` writes: three steps, a matrix, a parameter and a metric, no packages needed."""

from __future__ import annotations

from collections.abc import Mapping

_PIPELINES = """\
# A first pipeline. `mlmake` builds it; edit a script, a parameter or the data, and `mlmake` runs what that changes.
[project]
default = "train"

[datastores]
raw = "data"                                    # raw://x is data/x

[pipelines.train]
description = "Fit a line to measured points"
params = { seed = 7, rate = 0.02 }

[pipelines.train.steps.split]
script  = "steps/split.py"                      # gets --points … --train … --test … --seed 7
inputs  = { points = "raw://points.csv" }
outputs = { train = "build/train.csv", test = "build/test.csv" }
params  = ["seed"]

[pipelines.train.steps.fit]
script  = "steps/fit.py"
matrix  = { degree = [1, 2] }                   # two steps: fit[degree=1] and fit[degree=2]
inputs  = { train = "@split.train", test = "@split.test" }
outputs = { model = "build/model-{matrix.degree}.json" }
metrics = { scores = "build/scores-{matrix.degree}.json" }
params  = ["rate"]

[pipelines.train.steps.report]
command = "python steps/report.py {inputs.scores} -o {outputs.page}"
inputs  = { scores = "@fit.scores" }            # both, in the order of the matrix
outputs = { page = "build/report.txt" }
"""

_SPLIT = '''\
"""Split points into a part to learn from and a part to test on."""

import argparse
import random

parser = argparse.ArgumentParser()
for name in ("--points", "--train", "--test"):
    parser.add_argument(name)
parser.add_argument("--seed", type=int)
args = parser.parse_args()

with open(args.points) as file:
    header, *rows = file
random.Random(args.seed).shuffle(rows)
cut = len(rows) * 3 // 4
for path, part in ((args.train, rows[:cut]), (args.test, rows[cut:])):
    with open(path, "w") as file:
        file.writelines([header, *part])
print(f"{cut} points to learn from, {len(rows) - cut} to test on")
'''

_FIT = '''\
"""Fit a polynomial by gradient descent."""

import argparse
import json

from points import read, value

parser = argparse.ArgumentParser()
for name in ("--train", "--test", "--model", "--scores"):
    parser.add_argument(name)
parser.add_argument("--rate", type=float)
parser.add_argument("--degree", type=int)
args = parser.parse_args()

points = read(args.train)
weights = [0.0] * (args.degree + 1)
for _ in range(2000):
    for power in range(args.degree + 1):
        slope = sum((value(weights, x) - y) * x**power for x, y in points) / len(points)
        weights[power] -= args.rate * slope

tested = read(args.test)
error = sum((value(weights, x) - y) ** 2 for x, y in tested) / len(tested)
with open(args.model, "w") as file:
    json.dump(weights, file)
with open(args.scores, "w") as file:
    json.dump({"degree": args.degree, "mse": error}, file)
print(f"degree {args.degree}: mean squared error {error:.4f}")
'''

_POINTS = '''\
"""Points and polynomials; `mlmake` knows that steps/fit.py imports this file."""

import csv


def read(path):
    with open(path) as file:
        return [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]


def value(weights, x):
    return sum(weight * x**power for power, weight in enumerate(weights))
'''

_REPORT = '''\
"""Write which degree fits best."""

import argparse
import json

parser = argparse.ArgumentParser()
parser.add_argument("scores", nargs="+")
parser.add_argument("-o", "--output")
args = parser.parse_args()

scores = []
for path in args.scores:
    with open(path) as file:
        scores.append(json.load(file))
best = min(scores, key=lambda each: each["mse"])
lines = [f"degree {each['degree']}: mean squared error {each['mse']:.4f}" for each in scores]
with open(args.output, "w") as file:
    print(*lines, f"best: degree {best['degree']}", sep="\\n", file=file)
print(f"best: degree {best['degree']}")
'''


def _points() -> str:
    """Forty points along a parabola, with a ripple instead of noise so that the file is always the same."""
    rows = []
    for index in range(40):
        x = index / 20 - 1
        ripple = ((index * 37) % 11 - 5) / 50
        rows.append(f"{x:.2f},{0.5 + x - 1.5 * x * x + ripple:.4f}")
    return "\n".join(["x,y", *rows, ""])


FILES: Mapping[str, str] = {
    "pipelines.toml": _PIPELINES,
    "steps/split.py": _SPLIT,
    "steps/fit.py": _FIT,
    "steps/points.py": _POINTS,
    "steps/report.py": _REPORT,
    "data/points.csv": _points(),
}
