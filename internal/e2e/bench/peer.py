"""The form in which the peer scripts print what they counted, so that check.py can compare it with dthist's line."""

import json

CHAMBERS = 4
OFFSETS = (2817, 3042, 2865, 2772)  # 93.9, 101.4, 95.5, 92.4 ns in 1/30 ns


def histogram(counts, bins):
    """counts is {bin: n}; a bin below 0 is underflow, one of bins or more overflow."""
    h = {"Counts": [0] * bins, "Underflow": 0, "Overflow": 0}
    for i, n in counts.items():
        if i < 0:
            h["Underflow"] += int(n)
        elif i >= bins:
            h["Overflow"] += int(n)
        else:
            h["Counts"][int(i)] += int(n)
    return h


def by_fives(channels):
    out = {}
    for channel, n in channels.items():
        out[channel // 5] = out.get(channel // 5, 0) + int(n)
    return out


def show(channels, active, multiplicity, radiography, drift):
    """Prints the result. Each argument is a list, by chamber, of {x: n}: hits by channel, active channels by bin of Hist_2,
    orbits by active channels, hits of triggered orbits by channel, and these by bin of Hist_4."""
    out = {"Total Count": sum(int(n) for c in channels for n in c.values())}
    for i in range(CHAMBERS):
        occupancy = [0] * 64
        for channel, n in channels[i].items():
            occupancy[channel % 64] += int(n)
        many = [0] * 65
        for k, n in multiplicity[i].items():
            many[k] += int(n)
        out[f"Chamber_{i + 1}"] = {
            "Count": sum(occupancy),
            "Hist_1": histogram(by_fives(channels[i]), 34),
            "Hist_2": histogram(active[i], 19),
            "Hist_3": histogram(by_fives(radiography[i]), 34),
            "Hist_4": histogram(drift[i], 100),
            "Occupancy": occupancy,
            "Multiplicity": many,
        }
    print(json.dumps(out))


def table(rows):
    """Makes of rows (chamber from 1, x, n) a list, by chamber, of {x: n}."""
    out = [{} for _ in range(CHAMBERS)]
    for chamber, x, n in rows:
        out[chamber - 1][x] = n
    return out
