#!/usr/bin/env python3
"""dtstatscheck: the page's statistics (dtserve/page/stats.js) against scipy.

    dtstatscheck.py [STATS.JS]

Runs stats.js in Node on random pairs of histograms (empty bins, sparse, few and many entries, totals that differ) and compares
  chi2     with scipy.stats.chi2_contingency(correction=False) of the same merged table, and the merging with one made here
  ks       with the distance made here and scipy.stats.kstwobign.sf
  gammaQ   with scipy.special.gammaincc, kolmogorov with kstwobign.sf, wilson with its formula
Prints the number of comparisons; exits with 1 on a mismatch, with 2 when Node or scipy is missing.
"""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

try:
    import scipy.special
    import scipy.stats
except ImportError:
    # the distribution's packages belong to its own Python, which may not be the first in PATH
    if os.path.realpath(sys.executable) != os.path.realpath("/usr/bin/python3") and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3", __file__, *sys.argv[1:]])
    print("dtstatscheck: scipy is missing (apt-get install python3-scipy)", file=sys.stderr)
    sys.exit(2)

RELATIVE = 1e-9
SEED = 20591

PROGRAM = """
const stats = await import(process.argv[1]);
let text = "";
for await (const part of process.stdin) text += part;
const input = JSON.parse(text);
const plain = o => Object.fromEntries(Object.entries(o).map(([k, v]) => [k, Number.isNaN(v) ? "nan" : v]));
console.log(JSON.stringify({
  pairs: input.pairs.map(([a, b]) => ({ chi2: plain(stats.chi2(a, b)), ks: plain(stats.ks(a, b)), merged: stats.merge(a, b) })),
  gamma: input.gamma.map(([a, x]) => stats.gammaQ(a, x)),
  kolmogorov: input.kolmogorov.map(x => stats.kolmogorov(x)),
  wilson: input.wilson.map(([k, n]) => stats.wilson(k, n)),
}));
"""


def poisson(rng, mean):
    if mean > 500:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, k, p = math.exp(-mean), 0, rng.random()
    while p > limit:
        k += 1
        p *= rng.random()
    return k


def pairs(rng):
    out = [([0] * 5, [0] * 5), ([1], [2]), ([], []), ([0, 0, 3], [0, 0, 0]), ([10, 0, 0, 10], [0, 10, 10, 0]),
           ([4, 4], [4, 4]), ([5, 5], [5, 5]), ([1000000, 1000000], [1000001, 999999])]
    for _ in range(3000):
        n = rng.choice([2, 3, 10, 34, 64, 100, 400])
        shape = [rng.choice([0, 0, rng.random(), 1, rng.expovariate(1)]) for _ in range(n)] if rng.random() < 0.5 else [1] * n
        level = 10 ** rng.uniform(-1.5, 4)
        other = level * 10 ** rng.uniform(-2, 2)
        tilt = rng.choice([0, 0, 0.05, 0.5])
        a = [poisson(rng, level * s) for s in shape]
        b = [poisson(rng, other * s * (1 + tilt * i / n)) for i, s in enumerate(shape)]
        out.append((a, b))
    return out


def merged(a, b):
    """Adjacent bins joined from the left until both expected counts are at least 5; the rest joins the last."""
    total_a, total_b = sum(a), sum(b)
    if not total_a or not total_b:
        return [], []
    table, x, y = [], 0, 0
    for i, j in zip(a, b):
        x, y = x + i, y + j
        # expected counts are total · (x + y) / (total_a + total_b), compared without rounding
        if (x + y) * min(total_a, total_b) >= 5 * (total_a + total_b):
            table.append([x, y])
            x = y = 0
    if x + y:
        if table:
            table[-1][0] += x
            table[-1][1] += y
        else:
            table.append([x, y])
    return [r[0] for r in table], [r[1] for r in table]


def main():
    node = shutil.which("node")
    if not node:
        print("dtstatscheck: Node is missing", file=sys.stderr)
        return 2
    source = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[3] / "dtserve/page/stats.js").resolve()
    rng = random.Random(SEED)
    cases = {
        "pairs": pairs(rng),
        "gamma": [(k / 2, x) for k in [1, 2, 3, 5, 9, 19, 20, 21, 33, 63, 99, 199, 399, 1001]
                  for x in [0, 1e-8, 0.01, 0.5] + [k / 2 * f for f in (0.1, 0.5, 0.8, 0.95, 1, 1.05, 1.2, 2, 4)] + [30, 300]],
        "kolmogorov": [0, 0.05, 0.2, 0.3] + [i / 40 for i in range(14, 240)] + [8, 15],
        "wilson": [(k, n) for n in (1, 2, 14, 100, 1205) for k in sorted({0, 1, n // 2, n - 1, n})],
    }
    run = subprocess.run([node, "--input-type=module", "-e", PROGRAM, source.as_uri()], input=json.dumps(cases), capture_output=True, text=True)
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        return 1
    got = json.loads(run.stdout)
    count, wrong, worst = 0, 0, 0.0

    def same(what, value, want, floor=0.0):
        """want within the relative bound; values below floor count as 0 (p-values there are no numbers of ours or scipy's)."""
        nonlocal count, wrong, worst
        count += 1
        if value == want or (abs(value) <= floor and abs(want) <= floor):
            return
        error = abs(value - want) / abs(want) if want else abs(value)
        worst = max(worst, error)
        if not error < RELATIVE:
            wrong += 1
            if wrong <= 20:
                print(f"{what}: {value!r}, scipy {want!r}, relative error {error:.2g}", file=sys.stderr)

    tested = 0
    for (a, b), g in zip(cases["pairs"], got["pairs"]):
        what = f"{len(a)} bins, {sum(a)} and {sum(b)} entries"
        x, y = merged(a, b)
        count += 1
        if g["merged"] != [x, y]:
            wrong += 1
            print(f"{what}: merged bins differ", file=sys.stderr)
            continue
        if len(x) < 2:
            same(what + ", ndf", g["chi2"]["ndf"], 0)
        else:
            r = scipy.stats.chi2_contingency([x, y], correction=False)
            value, p, ndf, expected = r[0], r[1], r[2], r[3]
            tested += 1
            count += 1
            if expected.min() < 5 * (1 - 1e-12):
                wrong += 1
                print(f"{what}: expected {expected.min()} < 5", file=sys.stderr)
            same(what + ", ndf", g["chi2"]["ndf"], ndf)
            # a χ² of nearly 0 is a difference of equal numbers: compared on the scale of its rounding
            same(what + ", chi2", g["chi2"]["chi2"], value, floor=1e-12)
            same(what + ", p of chi2", g["chi2"]["p"], p, floor=1e-290)
        total_a, total_b = sum(a), sum(b)
        if not total_a or not total_b:
            same(what + ", d", 0 if g["ks"]["d"] == "nan" else 1, 0)
            continue
        d = ca = cb = 0
        for i, j in zip(a, b):
            ca, cb = ca + i, cb + j
            d = max(d, abs(ca * total_b - cb * total_a))
        d /= total_a * total_b
        same(what + ", d", g["ks"]["d"], d, floor=1e-15)
        same(what + ", p of ks", g["ks"]["p"], scipy.stats.kstwobign.sf(g["ks"]["d"] * math.sqrt(total_a * total_b / (total_a + total_b))), floor=1e-290)
    for (s, x), v in zip(cases["gamma"], got["gamma"]):
        same(f"gammaQ({s}, {x})", v, scipy.special.gammaincc(s, x), floor=1e-290)
    for x, v in zip(cases["kolmogorov"], got["kolmogorov"]):
        same(f"kolmogorov({x})", v, scipy.stats.kstwobign.sf(x), floor=1e-290)
    for (k, n), v in zip(cases["wilson"], got["wilson"]):
        p = k / n
        root = math.sqrt(p * (1 - p) / n + 1 / (4 * n * n))
        lo, hi = (p + 1 / (2 * n) - root) / (1 + 1 / n), (p + 1 / (2 * n) + root) / (1 + 1 / n)
        same(f"wilson({k}, {n})", v[0], lo, floor=1e-12)
        same(f"wilson({k}, {n})", v[1], hi)
    if tested < 1000:
        wrong += 1
        print(f"only {tested} pairs have two bins or more to compare", file=sys.stderr)
    print(f"dtstatscheck: {count} comparisons ({len(cases['pairs'])} pairs of histograms, {tested} with a χ²), {wrong} wrong, largest relative error {worst:.1e}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
