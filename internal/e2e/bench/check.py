"""Compares what the peers counted with dthist's line: check.py ours.json peer.json…. Exit 1 where they differ."""

import json
import sys

ours = json.load(open(sys.argv[1], encoding="utf-8"))
bad = 0
if ours["Complete"] != 1 or any(ours[f"Chamber_{i}"]["Late"] for i in range(1, 5)) or len(ours["Window"]["Spans"]) != 1:
    bad += 1
    print("check.py: the file has late hits or restarts, which only dthist knows how to treat", file=sys.stderr)
if not sum(ours["Chamber_1"]["Hist_4"]["Counts"]):
    bad += 1
    print("check.py: Hist_4 is empty, so this proves little", file=sys.stderr)


def walk(path, want, got):
    """Every key that the peer has must be equal in ours."""
    global bad
    if isinstance(want, dict):
        for key, value in want.items():
            walk(f"{path}.{key}", value, got.get(key))
    elif want != got:
        bad += 1
        print(f"check.py: {path}: {str(want)[:200]}, ours {str(got)[:200]}", file=sys.stderr)


for name in sys.argv[2:]:
    walk(name, json.load(open(name, encoding="utf-8")), ours)
sys.exit(bad > 0)
