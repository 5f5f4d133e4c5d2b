#!/usr/bin/env python3
"""dtpage: what the page of dtserve must show, computed independently from result lines.

    dtpage.py FILE SPAN:AT[:NEWEST]...

FILE holds result lines by hist/RESULTS.md, one a line, as they went into the server; line 1 has the id 1. SPAN is

  window   the line AT alone
  run      the lines of AT's run up to AT
  NUMBER   the windows of AT's run, epoch and settings, up to AT, that begin within the last NUMBER seconds before AT's end
  FROM-AT  the lines FROM to AT (as in 3-17:17)

What goes with the time has all windows up to NEWEST (default AT).

Prints one JSON object a span: {"From", "To", "Windows", "Live", "Triggers", "Total", "Counts", "Ledger", "Plots": {id: plot}}. A plot is
{"sets": [{"edges": [...], "counts": [...], "under": n, "over": n}, ...]}, or for efficiencies {"pairs": [[eligible, found], ...]}, or for what
goes with the time {"rows": [[id, start, end, live, count...], ...]}. Hist_2's edges are orbits. All numbers are counts; rates are counts / Live.
"""

import json
import sys

ORBIT = 891e-7          # s
SECOND = 11223          # orbits
MAX_BINS = 400_000      # of Hist_2 with --hist2 auto


def add(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]


class Histogram:
    """A histogram with fixed bins."""

    def __init__(self, h):
        self.edges, self.counts = list(h["Bins"]), list(h["Counts"])
        self.under, self.over = h.get("Underflow", 0), h.get("Overflow", 0)

    def add(self, h):
        assert h["Bins"] == self.edges
        self.counts = add(self.counts, h["Counts"])
        self.under += h.get("Underflow", 0)
        self.over += h.get("Overflow", 0)

    def plot(self):
        edges = list(self.edges)
        if len(edges) > 1:      # lower edges: the last bin is as wide as the one before
            edges.append(2 * edges[-1] - edges[-2])
        return {"edges": edges, "counts": self.counts, "under": self.under, "over": self.over}


class AutoHistogram:
    """Hist_2 with bins as far as the data of the last span of all go; what other spans have is overflow."""

    def __init__(self, width):
        self.width, self.last, self.bins, self.under, self.over = width, None, {}, 0, 0

    def add(self, h, spans):
        assert h["Auto"] == self.width
        self.under += h["Underflow"]
        self.over += h["Overflow"]
        last = max(((s.get("Run", ""), s["Epoch"]) for s in spans), default=None)
        if last is None:
            return
        if self.last is not None and last < self.last:
            self.over += sum(h["Counts"])
            return
        if last != self.last:
            self.over += sum(self.bins.values())
            self.bins, self.last = {}, last
        for edge, n in zip(h["Bins"], h["Counts"], strict=True):
            self.bins[edge] = self.bins.get(edge, 0) + n

    def plot(self):
        edges = list(range(min(self.bins), max(self.bins) + 2 * self.width, self.width)) if self.bins else []
        assert len(edges) <= MAX_BINS + 1
        return {"edges": edges, "counts": [self.bins.get(e, 0) for e in edges[:-1]], "under": self.under, "over": self.over}


def live_orbits(lines):
    """The stretches in which the detector was alive: those of one run and epoch are joined where they are at most a second apart."""
    stretches = {}
    for line in lines:
        for s in line["Window"]["Spans"]:
            stretches.setdefault((s.get("Run", ""), s["Epoch"]), []).extend(s["Live"])
    total = 0
    for s in stretches.values():
        end = None
        for a, b in sorted(s):
            if end is None or a - end > SECOND:
                total += b - a
                end = b
            elif b > end:
                total += b - end
                end = b
    return total


def is_window(line):
    """A line without orbits is bookkeeping and no window."""
    return bool(line["Window"]["Spans"])


def members(lines, span, at):
    """The numbers, from 1, of the lines of a span."""
    of = lines[at - 1]
    key = lambda l: (l["Window"].get("Run"), l["Settings"])
    same = [i for i in range(1, at + 1) if key(lines[i - 1]) == key(of)]
    if span == "window":
        return [at]
    if span == "run":
        return same
    if "-" in span:
        first = int(span.split("-")[0])
        return [i for i in same if i >= first]
    w = of["Window"]
    begin = w["End"] - float(span)
    # A window's length is a whole number of orbits, so nothing lies nearer to the limit than half an orbit by chance.
    return [i for i in same if lines[i - 1]["Window"]["Epoch"] == w["Epoch"] and lines[i - 1]["Window"]["Start"] > begin - ORBIT / 2]


def ledger(lines):
    """The sum of the ledgers, with each thing set aside as "stage: reason"."""
    total = {}
    for line in lines:
        for key, n in line["Ledger"].items():
            if key == "Set_Aside":
                for stage, reasons in n.items():
                    for reason, k in reasons.items():
                        total[f"{stage}: {reason}"] = total.get(f"{stage}: {reason}", 0) + k
            else:
                total[key] = total.get(key, 0) + n
    return total


def histogram_like(v):
    return isinstance(v, dict) and isinstance(v.get("Bins"), list) and isinstance(v.get("Counts"), list) and len(v["Bins"]) == len(v["Counts"])


def summed(lines, ids):
    """The plots of the sum of these lines."""
    use = [lines[i - 1] for i in ids]
    plots = {}
    names = [k for k in use[-1] if k.startswith("Chamber_")]
    for name in names:
        n = name.split("_")[1]
        chambers = [l[name] for l in use]
        for key in ("Hist_1", "Hist_3", "Hist_4"):
            h = Histogram(chambers[0][key])
            for c in chambers[1:]:
                h.add(c[key])
            plots[f"{key.lower()}:{n}"] = {"sets": [h.plot()]}
        if "Auto" in chambers[0]["Hist_2"]:
            h2 = AutoHistogram(chambers[0]["Hist_2"]["Auto"])
            for c, l in zip(chambers, use):
                h2.add(c["Hist_2"], l["Window"]["Spans"])
        else:
            h2 = Histogram(chambers[0]["Hist_2"])
            for c in chambers[1:]:
                h2.add(c["Hist_2"])
        plots[f"hist_2:{n}"] = {"sets": [h2.plot()]}
        # Numbers and channels: k lies in the bin from k - 1/2 to k + 1/2. Chambers 2 and 4 have channels 64 to 127, and there is no orbit with 0 channels.
        first = 64 if n in ("2", "4") else 0
        for key, plot, low in (("Occupancy", "occupancy", first - 0.5), ("Scintillator", "scintillator", first - 0.5),
                               ("Multiplicity", "multiplicity", 0.5), ("Trigger_Multiplicity", "trigger_multiplicity", -0.5)):
            total = chambers[0][key]
            for c in chambers[1:]:
                total = add(total, c[key])
            if key == "Multiplicity":
                total = total[1:]
            plots[f"{plot}:{n}"] = {"sets": [{"edges": [low + i for i in range(len(total) + 1)], "counts": total, "under": 0, "over": 0}]}
        plots[f"wiremap:{n}"] = {"sets": [{"edges": list(range(first, first + 64)), "counts": plots[f"occupancy:{n}"]["sets"][0]["counts"], "under": 0, "over": 0}]}
        edges = plots[f"hist_4:{n}"]["sets"][0]["edges"]
        layers = [[0] * (len(edges) - 1) for _ in range(4)]
        pairs = [[0, 0] for _ in range(4)]
        for c in chambers:
            layers = [add(a, b) for a, b in zip(layers, c["Drift_Layer"], strict=True)]
            pairs = [add(a, b) for a, b in zip(pairs, c["Efficiency"], strict=True)]
        plots[f"drift_layer:{n}"] = {"sets": [{"edges": edges, "counts": c, "under": 0, "over": 0} for c in layers]}
        plots[f"efficiency:{n}"] = {"pairs": pairs}
        plots[f"box:{n}"] = plots[f"hist_4:{n}"]
    for f in ("0", "1"):
        fpgas = [l["FPGA_" + f] for l in use]
        bx, tdc = Histogram(fpgas[0]["BX"]), [0] * 32
        for g in fpgas[1:]:
            bx.add(g["BX"])
        for g in fpgas:
            tdc = add(tdc, g["TDC"])
        plots["bx:" + f] = {"sets": [bx.plot()]}
        plots["tdc:" + f] = {"sets": [{"edges": [i - 0.5 for i in range(33)], "counts": tdc, "under": 0, "over": 0}]}
    return plots


def other(lines, ids):
    """Histograms under keys that are not of RESULTS.md, at the top or one level down."""
    found = {}
    for i in ids:
        for key, v in lines[i - 1].items():
            if histogram_like(v):
                found.setdefault(key, []).append(v)
            elif isinstance(v, dict) and key.startswith("Chamber_"):
                for k, h in v.items():
                    if histogram_like(h) and k not in ("Hist_1", "Hist_2", "Hist_3", "Hist_4"):
                        found.setdefault(f"{key}.{k}", []).append(h)
    plots = {}
    for key, list_ in found.items():
        h = Histogram(list_[0])
        for o in list_[1:]:
            h.add(o)
        plots["other:" + key] = {"sets": [h.plot()]}
    return plots


def trends(lines, at):
    """What goes with the time, of all windows up to a line: [id, start, end, live, count...]."""
    plots = {}
    rows = [(i, l) for i, l in enumerate(lines[:at], 1) if is_window(l)]
    base = lambda i, l: [i, l["Window"]["Start"], l["Window"]["End"], l["Window"]["Live"]]
    names = [k for k in lines[at - 1] if k.startswith("Chamber_")]
    for name in names:
        plots["rate:" + name.split("_")[1]] = {"rows": [base(i, l) + [l[name]["Count"]] for i, l in rows]}
    plots["trend:rates"] = {"rows": [base(i, l) + [l[name]["Count"] for name in names] for i, l in rows]}
    plots["trend:triggers"] = {"rows": [base(i, l) + [l["Trigger"]["Orbits"]] for i, l in rows]}
    return plots


def main():
    with open(sys.argv[1]) as f:
        lines = [json.loads(line) for line in f]
    for query in sys.argv[2:]:
        span, at, newest = (query + ":" + query.split(":")[1]).split(":")[:3]
        at = int(at)
        ids = members(lines, span, at)
        use = [lines[i - 1] for i in ids]
        windows = [i for i in ids if is_window(lines[i - 1])]
        print(json.dumps({
            "Query": query,
            "From": windows[0] if windows else 0, "To": windows[-1] if windows else 0, "Windows": len(windows),
            "Live": live_orbits(use) * ORBIT,
            "Triggers": sum(l["Trigger"]["Orbits"] for l in use),
            "Total": sum(l["Total Count"] for l in use),
            "Counts": [sum(l[k]["Count"] for l in use) for k in use[-1] if k.startswith("Chamber_")],
            "Ledger": ledger(use),
            "Plots": {**summed(lines, ids), **other(lines, ids), **trends(lines, int(newest))},
        }))


if __name__ == "__main__":
    main()
