"""The job of dtcat | dtfilter | dtchamber | dthist --window all with numpy and boost-histogram: numpy_all.py words.dat"""

import sys

import boost_histogram as bh
import numpy as np

import peer

words = np.fromfile(sys.argv[1], dtype="<u8")
words = words[words >> 61 == 2]
channel = (words >> 49 & 511).astype(np.int16)
fpga = (words >> 58 & 7).astype(np.int8)
trigger = (channel == 128) & (fpga == 1)
inside = (channel < 128) & (fpga <= 1)


def ticks(w):
    return ((w >> 17 & 0xFFFFFFFF) * 3564 + (w >> 5 & 4095)).astype(np.int64) * 30 + (w & 31).astype(np.int64)


# Triggers: the first of each orbit.
scintillator = words[trigger]
orbits_with = (scintillator >> 17 & 0xFFFFFFFF).astype(np.int64)
order = np.lexsort((ticks(scintillator), orbits_with))
orbits_with, first = np.unique(orbits_with[order], return_index=True)
t0 = ticks(scintillator)[order][first]

words, channel = words[inside], channel[inside]
chamber = fpga[inside] * 2 + (channel >> 6).astype(np.int8)
orbit = (words >> 17 & 0xFFFFFFFF).astype(np.int64)

whole = bh.axis.Integer
hits = bh.Histogram(whole(0, 4), whole(0, 128), storage=bh.storage.Int64())
hits.fill(chamber, channel, threads=2)

# Distinct (orbit, chamber, channel), and of these the distinct (orbit, chamber).
key = np.sort(orbit << 8 | chamber.astype(np.int64) << 6 | (channel & 63))
key = key[np.concatenate(([True], key[1:] != key[:-1]))] >> 6
starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
n_active = np.diff(np.append(starts, len(key)))
at_chamber, at_orbit = key[starts] & 3, key[starts] >> 2
many = bh.Histogram(whole(0, 4), whole(0, 65), storage=bh.storage.Int64())
many.fill(at_chamber, n_active, threads=2)
bins = np.where(at_orbit > 10_000_000, 10_100_000, at_orbit)
active = bh.Histogram(whole(0, 4), bh.axis.Regular(19, 600_000, 10_100_000), storage=bh.storage.Double())
active.fill(at_chamber, bins, weight=n_active, threads=2)

# Hits in triggered orbits.
where = np.minimum(np.searchsorted(orbits_with, orbit), len(orbits_with) - 1)
muon = orbits_with[where] == orbit
m_chamber, m_channel = chamber[muon], channel[muon]
drift = 25 * (ticks(words[muon]) - t0[where[muon]]) + np.array(peer.OFFSETS)[m_chamber]
radiography = bh.Histogram(whole(0, 4), whole(0, 128), storage=bh.storage.Int64())
radiography.fill(m_chamber, m_channel)
box = bh.Histogram(whole(0, 4), whole(0, 100), storage=bh.storage.Int64())
box.fill(m_chamber, drift // 300)


def rows(h, first):
    """By chamber, {bin: n} of a histogram, from its flow view; its bins begin at first."""
    view = h.view(flow=True)[1:5]
    return [{i + first - 1: n for i, n in enumerate(chamber) if n} for chamber in view]


peer.show(rows(hits, 0), rows(active, 0), rows(many, 0), rows(radiography, 0), rows(box, 0))
