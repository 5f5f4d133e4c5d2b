#!/usr/bin/env python3
"""dtcheck: what a run's result lines must say, computed independently.

    dtcheck.py [--from auto|lcp] [--map minidt|lcp] [--expr default|hits|all]
               [--window 5s|all|2245o] [--lateness N] [--hist1 LO:HI:W]
               [--hist2 LO:HI:W|auto|auto:W] [--hist4 LO:HI:W] FILE...

Reads the run as a whole, judges it by wire/FORMAT.md, filters it, and prints one
JSON line a window by hist/RESULTS.md, without Index, Source, Settings, Ledger
and Window.Run. The last line is {"Ledger_Total": {...}}, the sums of the run.

Input is recognised by content: gzip or not; CSV with or without a header, or raw
little-endian words. The whole run is held in memory.
"""

import argparse
import gzip
import json
import re
import struct
import sys
from collections import defaultdict, namedtuple
from fractions import Fraction

# ------------------------------------------------------------------ the words

Word = namedtuple("Word", "head fpga channel orbit bx tdc")

ORBIT_BX = 3564                         # BX in an orbit
SECOND = 11223                          # 1 s in orbits
ORBIT_SECONDS = Fraction(891, 10**7)    # an orbit is 89.1 us

HALF = re.compile(r"-?[0-9]+(\.[0-9]+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)


def ticks(w):
    """The time of a hit in its whole run, in ticks of 25/30 ns."""
    return (w.orbit * ORBIT_BX + w.bx) * 30 + w.tdc


def parse_row(line):
    """The word of a CSV row, or None if it is none."""
    fields = line.split(",")
    if len(fields) != 6:
        return None
    for text in fields[:5]:
        if not (text.isascii() and text.isdigit()):
            return None
    head, fpga, channel, orbit, bx = map(int, fields[:5])
    if head > 7 or fpga > 7 or channel > 511 or orbit > 0xFFFFFFFF:
        return None
    if bx > (0xFFFF if head == 3 else 4095):    # HEAD 3 has its 16-bit mask here
        return None
    text = fields[5]
    if head in (4, 5):                          # a half-float; nothing here uses it
        return Word(head, fpga, channel, orbit, bx, 0) if HALF.fullmatch(text) else None
    if not (text.isascii() and text.isdigit()):
        return None
    tdc = int(text)
    if tdc > (255 if head == 1 else 31):        # HEAD 1 has its 8-bit value here
        return None
    return Word(head, fpga, channel, orbit, bx, tdc)


def parse_lcp_row(line):
    """A row of the v1 text, made a v2 hit."""
    w = parse_row(line)
    if w is None or w.channel == 0:
        return None
    channel = w.channel if w.channel >= 137 else w.channel - 1
    return Word(2, w.fpga, channel, w.orbit, w.bx, w.tdc)


def decode_v2(x):
    head, fpga = x >> 61 & 7, x >> 58 & 7
    if head == 2:
        return Word(head, fpga, x >> 49 & 0x1FF, x >> 17 & 0xFFFFFFFF, x >> 5 & 0xFFF, x & 0x1F)
    return Word(head, fpga, 0, x >> 24 & 0xFFFFFFFF, 0, 0)     # its payload counts nowhere


def decode_v1(x):
    """A raw v1 word, made a v2 hit: 1 less than raw in TDC, as the text has it."""
    fpga, channel, tdc = x >> 58 & 0xF, x >> 49 & 0x1FF, (x & 0x1F) - 1
    if fpga > 7 or tdc < 0:
        return None
    if channel >= 136:                  # 137 on in the text, and kept so
        channel += 1
    return Word(2, fpga, channel, x >> 17 & 0xFFFFFFFF, x >> 5 & 0xFFF, tdc)


def read_records(path, layout):
    """Every record of a file, in order: a Word, or None for one that is rejected."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if is_text(data[:4096]):
        row = parse_lcp_row if layout == "lcp" else parse_row
        lines = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
        if lines[0].startswith("HEAD,"):      # a header further on is a bad row
            lines = lines[1:]
        if lines and not lines[-1]:
            lines.pop()                 # behind the last line feed; any other blank line is a bad row
        return [row(line) for line in lines]
    decode = decode_v1 if layout == "lcp" else decode_v2
    whole = len(data) // 8 * 8
    records = [decode(x) for (x,) in struct.iter_unpack("<Q", data[:whole])]
    if whole < len(data):
        records.append(None)            # a cut word
    return records


def is_text(sample):
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in sample)


# --------------------------------------- FORMAT.md: epochs, horizon, late words

FAR = 65536
SLACK = 16
LATENESS = 112000
LOOK_AHEAD = 1023
AGREE = 8
MOST_EPOCHS = 64


class Epoch:
    """B, N, H, the last jump forward, seen, members, and whether it is open."""

    def __init__(self, number, orbit, lateness):
        self.number = number
        self.begin = orbit
        self.newest = orbit
        self.horizon = max(0, orbit - lateness)
        self.jump_from = self.jump_to = None
        self.seen = set()
        self.members = set()
        self.open = True


class Source:
    """Judges the hits of a run in the order of the source.

    `epochs` is e -> Epoch; `home` is the epoch each seen FPGA is in; `last` is L;
    `oldest_open` is a number.
    """

    def __init__(self, words, lateness=LATENESS):
        self.words = words
        self.lateness = lateness
        self.epochs = []
        self.home = {}
        self.last = {}
        self.oldest_open = 0

    def judge(self):
        """For every word: None for no hit, else (epoch, orbit to book it in, late).

        Leaves in `progress` what was closed behind each word: all orbits below the horizon
        of the oldest open epoch, as (epoch, horizon).
        """
        judgement, self.progress = [], []
        for i, w in enumerate(self.words):
            judgement.append(self.judge_hit(i) if w.head == 2 else None)
            horizon = self.epochs[self.oldest_open].horizon if self.epochs else 0
            self.progress.append((self.oldest_open, horizon))
        return judgement

    def judge_hit(self, i):
        f, o = self.words[i].fpga, self.words[i].orbit
        if not self.epochs:                                     # 1
            return self.enter(f, o, self.open_epoch(o), far=False)

        if f in self.home:                                      # 2
            home, reference = self.home[f], self.last[f]
        else:
            home = self.epochs[-1]
            reference = home.newest

        if abs(o - reference) <= FAR:                           # 3
            epoch = home
            if not (home.open and o >= home.horizon):
                epoch = self.newest_near(f, o, lambda e: e.number > home.number) or home
            return self.enter(f, o, epoch, far=False)

        epoch = self.newest_near(                               # 4
            f, o, lambda e: e.number > home.number or (e is home and o > reference))
        if epoch:
            if self.next_hit_is_near(i, reference):
                return self.late_word(self.home.get(f))         # 7
            if epoch is home:
                self.jump_forward(f, o, home, reference, accepted=False)
            return self.enter(f, o, epoch, far=True)

        if not self.accepted(i, reference):                     # 5
            return self.late_word(self.home.get(f))             # 7
        if o > reference and home.open:                         # 6
            self.jump_forward(f, o, home, reference, accepted=True)
            return self.enter(f, o, home, far=True)
        return self.enter(f, o, self.open_epoch(o), far=True)

    def newest_near(self, f, o, wanted):
        """The newest open epoch, of those wanted, of another FPGA that is near o; or None."""
        epochs = [
            self.home[g] for g in self.home
            if g != f and abs(o - self.last[g]) <= FAR and self.home[g].open and wanted(self.home[g])
        ]
        return max(epochs, key=lambda e: e.number, default=None)

    def following_hits(self, i):
        """The orbits of the hits of the same FPGA among the words that follow word i."""
        f = self.words[i].fpga
        for j in range(i + 1, min(i + 1 + LOOK_AHEAD, len(self.words))):
            if self.words[j].head == 2 and self.words[j].fpga == f:
                yield self.words[j].orbit

    def next_hit_is_near(self, i, reference):
        """Step 4: is the next hit of this FPGA back where it was?"""
        following = next(self.following_hits(i), None)
        return following is not None and abs(following - reference) <= FAR

    def accepted(self, i, reference):
        """Step 5: do the words that follow agree with this jump?"""
        o = self.words[i].orbit
        agree, odd = 1, 0
        for other in self.following_hits(i):
            if abs(other - reference) <= FAR:
                return False
            if (other > reference) == (o > reference) and other >= o - FAR:
                agree += 1
                if agree == AGREE:
                    return True
            else:
                odd += 1
                if odd == AGREE:
                    return False
        source_ended = i + LOOK_AHEAD >= len(self.words)
        if not source_ended:
            return False
        nothing_follows = all(w.head != 2 for w in self.words[i + 1:])
        return nothing_follows or agree > odd and agree >= 2

    def open_epoch(self, orbit):
        epoch = Epoch(len(self.epochs), orbit, self.lateness)
        self.epochs.append(epoch)
        if epoch.number - self.oldest_open >= MOST_EPOCHS:
            self.close(self.epochs[self.oldest_open])
        return epoch

    def close(self, epoch):
        epoch.open = False
        while not self.epochs[self.oldest_open].open:           # the newest is always open
            self.oldest_open += 1

    def enter(self, f, o, e, far):
        """Hit o of f enters epoch e; `far` if f has jumped. The judgement of the hit."""
        late = not e.open or o < e.horizon
        old = self.home.get(f)
        if old is not None and old is not e:
            old.members.discard(f)
            if not old.members and old.open:
                self.close(old)
        self.last[f] = o if far or old is not e else max(self.last[f], o)
        self.home[f] = e
        e.newest = max(e.newest, o)
        e.members.add(f)
        e.seen.add(f)

        self.move_horizon(e)
        if e.newest - e.begin > self.lateness:
            for older in self.epochs[self.oldest_open:e.number]:
                if older.open:
                    self.close(older)
        return self.late_word(e) if late else (e.number, o, False)

    def jump_forward(self, f, o, e, reference, accepted):
        """What a jump forward within e sets before the hit enters."""
        if e.seen == {f}:
            e.begin = o
            e.horizon = max(e.horizon, o - self.lateness)
        elif accepted:
            if not self.jump_pending(e):
                e.jump_from = reference
            e.jump_to = o

    def jump_pending(self, e):
        return e.jump_to is not None and e.newest - e.jump_to <= self.lateness

    def move_horizon(self, e):
        if len(e.seen) == 1 and e.newest - e.begin <= self.lateness:
            return
        pending = self.jump_pending(e)
        waited_for = [
            self.last[g] for g in e.members
            if self.last[g] >= e.newest - self.lateness
            or (pending and e.jump_from - self.lateness <= self.last[g] < e.jump_to)
        ]
        if waited_for:
            e.horizon = max(e.horizon, min(waited_for) - SLACK)

    def late_word(self, epoch):
        """A late word that has entered `epoch`, or, if it is odd, whose FPGA is there."""
        if epoch is None or not epoch.open:
            epoch = self.epochs[-1]
        return epoch.number, epoch.newest, True


# ------------------------------------------------------------- filter and map

EXPRESSIONS = {
    "default": lambda w: w.head == 2 and w.channel <= 128,
    "hits": lambda w: w.head == 2,
    "all": lambda w: True,
}

CHAMBERS = (1, 2, 3, 4)
LAYERS = (1, 2, 3, 4)
FPGAS = (0, 1)
SCINTILLATOR, UNASSIGNED = "scintillator", "unassigned"

LAYER_OF = {0: 4, 2: 3, 1: 2, 3: 1}     # channel mod 4 -> layer

# Time offsets in units of 1/30 ns, and where the scintillator is: {(fpga, channel)}.
MAPS = {
    "minidt": ({1: 2817, 2: 3042, 3: 2865, 4: 2772}, {(1, 128)}),
    "lcp": ({1: 11700, 2: 11700, 3: 11700, 4: 11700}, {(0, 139), (1, 139)}),
}


def assign(w, scintillators):
    """The chamber of a hit, or SCINTILLATOR, or UNASSIGNED."""
    if (w.fpga, w.channel) in scintillators:
        return SCINTILLATOR
    if w.fpga in FPGAS and w.channel < 128:
        return 1 + 2 * w.fpga + w.channel // 64
    return UNASSIGNED


# ------------------------------------------------------------------ histograms


class Axis:
    """Bins of `width` from `low`; `high` and above is overflow (above it, where `closed`)."""

    def __init__(self, low, high, width, closed=False):
        self.low, self.high, self.width, self.closed = low, high, width, closed
        self.size = max(0, -((low - high) // width))            # rounded up

    def bin(self, value):
        """The number of the bin, or "Underflow" or "Overflow"."""
        if value < self.low:
            return "Underflow"
        if value > self.high or (value == self.high and not self.closed):
            return "Overflow"
        return min(int((value - self.low) // self.width), self.size - 1)

    def edges(self):
        return [self.low + i * self.width for i in range(self.size)]


class Histogram:
    def __init__(self, axis):
        self.axis = axis
        self.bins = defaultdict(int)

    def add(self, value, weight=1):
        self.add_to(self.axis.bin(value), weight)

    def add_to(self, bin, weight):
        self.bins[bin] += weight

    def counts(self):
        return [self.bins[i] for i in range(self.axis.size)]

    def result(self):
        return {
            "Bins": self.axis.edges(),
            "Counts": self.counts(),
            "Underflow": self.bins["Underflow"],
            "Overflow": self.bins["Overflow"],
        }


# --------------------------------------------------------------------- windows


class Window:
    """What was booked in a window: hits in time by (epoch, orbit), and late hits."""

    def __init__(self):
        self.orbits = defaultdict(list)         # (epoch, orbit) -> [(word, place)]
        self.late = []                          # [(word, place)]


class Settings:
    """How windows and histograms are laid out."""

    def __init__(self, window, hist1, hist2, hist4, chamber_map):
        self.length = window                    # orbits, or None for all
        self.axis1 = Axis(*hist1)
        self.axis4 = Axis(*hist4)               # in ns
        self.hist2 = hist2                      # (low, high, width), or ("auto", width)
        self.offsets, self.scintillators = MAPS[chamber_map]

    def axis2(self, window):
        if self.hist2[0] != "auto":
            return Axis(*self.hist2, closed=True)
        width = self.hist2[1]
        if not window.orbits:
            return Axis(0, 0, width)
        orbits = last_span(window)
        low = min(orbits) // width * width
        bins = min(max(orbits) // width + 1 - low // width, 400000)
        return Axis(low, low + bins * width, width)

    def auto(self):
        """What Hist_2 says more with auto."""
        return {"Auto": self.hist2[1]} if self.hist2[0] == "auto" else {}

    def bin2(self, axis2, newest, epoch, orbit):
        """The bin of Hist_2; with auto, the axis is that of the last span, `newest`, alone."""
        if self.hist2[0] == "auto" and epoch != newest:
            return "Overflow"
        return axis2.bin(orbit)


def last_span(window):
    """The orbits with hits in time of the last epoch that has any."""
    epoch = max(window.orbits, default=(None, None))[0]
    return [o for e, o in window.orbits if e == epoch]


def book(judged, settings):
    """The windows of the run: (epoch, number) -> Window; with --window all, (0, 0)."""
    windows = defaultdict(Window)
    for w, (epoch, orbit, late) in judged:
        key = (epoch, orbit // settings.length) if settings.length else (0, 0)
        hit = (w, assign(w, settings.scintillators))
        if late:
            windows[key].late.append(hit)
        else:
            windows[key].orbits[epoch, orbit].append(hit)
    return dict(sorted(windows.items()))


def chamber_result(chamber, window, settings, axis2, live):
    hist1, hist3 = Histogram(settings.axis1), Histogram(settings.axis1)
    hist2, hist4 = Histogram(axis2), Histogram(settings.axis4)
    occupancy, scintillator = [0] * 64, [0] * 64
    multiplicity, trigger_multiplicity = [0] * 65, [0] * 17
    drift_layer = {layer: Histogram(settings.axis4) for layer in LAYERS}
    efficiency = {layer: [0, 0] for layer in LAYERS}
    newest = max(window.orbits, default=(None, None))[0]
    count = late = 0

    def count_hit(w):
        hist1.add(w.channel)
        occupancy[w.channel % 64] += 1

    for w, place in window.late:
        if place == chamber:
            count += 1
            late += 1
            count_hit(w)

    for (epoch, orbit), hits in window.orbits.items():
        mine = [w for w, place in hits if place == chamber]
        count += len(mine)
        for w in mine:
            count_hit(w)
        active = len({w.channel for w in mine})
        if active > 0:
            hist2.add_to(settings.bin2(axis2, newest, epoch, orbit), active)
            multiplicity[active] += 1

        triggers = [ticks(w) for w, place in hits if place == SCINTILLATOR]
        if not triggers:
            continue
        start = min(triggers)
        in_time_wires, in_time_layers = set(), set()
        for w in mine:
            drift = Fraction(25 * (ticks(w) - start) + settings.offsets[chamber], 30)   # ns
            layer = LAYER_OF[w.channel % 4]
            hist3.add(w.channel)
            scintillator[w.channel % 64] += 1
            hist4.add(drift)
            drift_layer[layer].add(drift)
            if 0 <= drift < 500:
                in_time_wires.add(w.channel)
                in_time_layers.add(layer)
        trigger_multiplicity[min(len(in_time_wires), 16)] += 1
        for layer in LAYERS:
            if all(other in in_time_layers for other in LAYERS if other != layer):
                efficiency[layer][0] += 1
                if layer in in_time_layers:
                    efficiency[layer][1] += 1

    result = {"Count": count, "Late": late}
    if live > 0:
        result["Rate"] = Fraction(int(Fraction(count) / live * 10**6 + Fraction(1, 2)), 10**6)    # half up
    result.update({
        "Hist_1": hist1.result(),
        "Hist_2": hist2.result() | settings.auto(),
        "Hist_3": hist3.result(),
        "Hist_4": hist4.result(),
        "Occupancy": occupancy,
        "Scintillator": scintillator,
        "Multiplicity": multiplicity,
        "Drift_Layer": [drift_layer[layer].counts() for layer in LAYERS],
        "Trigger_Multiplicity": trigger_multiplicity,
        "Efficiency": [efficiency[layer] for layer in LAYERS],
    })
    return result


def fpga_result(fpga, window):
    hits, last = [], None
    newest = max(window.orbits, default=(None, None))[0]
    for (epoch, orbit), booked in sorted(window.orbits.items()):
        mine = [w for w, _ in booked if w.fpga == fpga]
        hits += mine
        if mine and epoch == newest:
            last = orbit
    bx = Histogram(Axis(0, ORBIT_BX, 36))
    tdc = [0] * 32
    for w in hits:
        bx.add(w.bx)
        tdc[w.tdc] += 1
    result = {"Hits": len(hits)}
    if last is not None:
        result["Last"] = last
    result.update({"BX": bx.result(), "TDC": tdc})
    return result


def trigger_result(window):
    hits = [sum(place == SCINTILLATOR for _, place in booked) for booked in window.orbits.values()]
    return {"Hits": sum(hits), "Orbits": sum(n > 0 for n in hits)}


def spans_of(window):
    by_epoch = defaultdict(list)
    for epoch, orbit in window.orbits:
        by_epoch[epoch].append(orbit)
    spans = []
    for epoch, orbits in sorted(by_epoch.items()):
        orbits.sort()
        live = [[orbits[0], orbits[0]]]
        for orbit in orbits[1:]:
            if orbit - live[-1][1] <= SECOND:
                live[-1][1] = orbit
            else:
                live.append([orbit, orbit])
        spans.append({
            "Run": "check", "Epoch": epoch, "First": orbits[0], "Last": orbits[-1], "Live": live,
        })
    return spans


def window_result(key, spans, length):
    """The key Window; `key` is (epoch, number), or None in a line without orbits."""
    result = {"Clock": "detector" if length else "all"}
    start = end = None
    if length:
        result["Seconds"] = length * ORBIT_SECONDS
        if key:
            start, end = key[1] * length, (key[1] + 1) * length
    elif spans:
        start, end = spans[0]["First"], spans[-1]["Last"] + 1
        result["Seconds"] = sum(span["Last"] + 1 - span["First"] for span in spans) * ORBIT_SECONDS
    if start is not None:
        result["Start"] = start * ORBIT_SECONDS
        result["End"] = end * ORBIT_SECONDS
    result["Live"] = sum(b - a for span in spans for a, b in span["Live"]) * ORBIT_SECONDS
    result["Spans"] = spans
    result["Revision"] = 0
    if length and key:
        result["Epoch"], result["Number"] = key
    return result


def line_of(key, window, settings):
    """One result line."""
    summary = window_result(key, spans_of(window), settings.length)
    axis2 = settings.axis2(window)
    line = {"Total Count": 0}
    for chamber in CHAMBERS:
        result = chamber_result(chamber, window, settings, axis2, summary["Live"])
        line["Total Count"] += result["Count"]
        line[f"Chamber_{chamber}"] = result
    line["Trigger"] = trigger_result(window)
    for fpga in FPGAS:
        line[f"FPGA_{fpga}"] = fpga_result(fpga, window)
    line["Window"] = summary
    line["Complete"] = 1
    return line


def ledger_total(records, kept, judged, settings):
    """The sums of the run, each term counted by itself."""
    total = dict.fromkeys(
        ("Read", "Hits", "Late", "Scintillator", "Unassigned", "Not_A_Hit", "Early", "Pending",
         "Set_Aside", "Rejected"), 0)
    total["Read"] = len(records)
    total["Rejected"] = sum(r is None for r in records)
    total["Set_Aside"] = sum(r is not None for r in records) - len(kept)
    total["Not_A_Hit"] = sum(w.head != 2 for w in kept)
    for w, (_, _, late) in judged:
        place = assign(w, settings.scintillators)
        if place == SCINTILLATOR:
            total["Scintillator"] += 1
        elif place == UNASSIGNED:
            total["Unassigned"] += 1
        else:
            total["Late" if late else "Hits"] += 1
    return total


def read_after(key, records, source, settings):
    """Was anything read behind the word that let this window be written?"""
    epoch, number = key
    end = (epoch, (number + 1) * settings.length)
    behind = sum(progress < end for progress in source.progress) + 1     # words, with that one
    words = sum(r is not None for r in records)
    return behind < words or behind == words and records[-1] is None


def check(records, settings, expr="default", lateness=LATENESS):
    """All result lines of a run, and the sums of its ledger."""
    words = [r for r in records if r is not None]
    source = Source(words, lateness)
    judgement = source.judge()                              # before any filter
    keep = EXPRESSIONS[expr]
    kept = [w for w in words if keep(w)]
    judged = [(w, j) for w, j in zip(words, judgement) if keep(w) and j is not None]

    windows = book(judged, settings)
    lines = [line_of(key, window, settings) for key, window in windows.items()]
    if not windows or settings.length and read_after(max(windows), records, source, settings):
        lines.append(line_of(None, Window(), settings))
    return lines, ledger_total(records, kept, judged, settings)


# -------------------------------------------------------------------- the edge


def number_text(x):
    """An exact decimal, or an integer, without needless zeros."""
    if isinstance(x, Fraction) and x.denominator != 1:
        digits = 0
        while (x * 10**digits).denominator != 1:
            digits += 1
        whole = int(abs(x) * 10**digits)
        sign = "-" if x < 0 else ""
        return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}d}"
    return str(int(x))


def to_json(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {to_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        if all(type(v) is int for v in value):
            return str(list(value))
        return "[" + ", ".join(map(to_json, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else number_text(value)


def decimal(text):
    """A decimal as an int where it is whole, else as a Fraction."""
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
        raise ValueError(text)
    x = Fraction(text)
    return int(x) if x.denominator == 1 else x


def window_length(text):
    """'5s' or '100o' in orbits, rounded to the nearest; None for 'all'."""
    if text == "all":
        return None
    if text.endswith("o"):
        length = int(text[:-1])
    else:
        if not text.endswith("s"):
            raise ValueError(text)
        length = int(decimal(text[:-1]) / ORBIT_SECONDS + Fraction(1, 2))
    if length < 1:
        raise ValueError(text)
    return length


def bins(text):
    """'LO:HI:W' as three numbers."""
    low, high, width = (decimal(part) for part in text.split(":"))
    if width <= 0 or high <= low:
        raise ValueError(text)
    return low, high, width


def orbit_bins(text):
    """'LO:HI:W', 'auto' or 'auto:W'."""
    if text == "auto":
        return "auto", SECOND
    if text.startswith("auto:"):
        width = int(text.removeprefix("auto:"))
        if width < 1:
            raise ValueError(text)
        return "auto", width
    return bins(text)


def arguments():
    p = argparse.ArgumentParser(description="what a run's result lines must say")
    p.add_argument("--from", dest="layout", choices=("auto", "lcp"), default="auto")
    p.add_argument("--map", choices=tuple(MAPS), default="minidt")
    p.add_argument("--expr", choices=tuple(EXPRESSIONS), default="default")
    p.add_argument("--window", type=window_length, default="5s")
    p.add_argument("--lateness", type=int, default=LATENESS)
    p.add_argument("--hist1", type=bins, default="0:170:5")
    p.add_argument("--hist2", type=orbit_bins, default="600000:10000000:500000")
    p.add_argument("--hist4", type=bins, default="0:1000:10")
    p.add_argument("files", nargs="+", metavar="FILE")
    return p.parse_args()


def main():
    a = arguments()
    records = [r for path in a.files for r in read_records(path, a.layout)]
    settings = Settings(a.window, a.hist1, a.hist2, a.hist4, a.map)
    lines, total = check(records, settings, a.expr, a.lateness)
    for line in lines:
        print(to_json(line))
    print(to_json({"Ledger_Total": total}))


if __name__ == "__main__":
    sys.exit(main())
