#!/usr/bin/env python3
"""traps: seeded streams with every trap of the detector's data.

    traps.py [--seed S] [--rows N] [--mode MODE]

Writes CSV with a header to standard output: N rows, made of scenes that follow
each other. A scene moves the detector's clock on and lets two FPGAs tell what they
saw, in cycles of 16 words: 4 hits of FPGA 0, 4 hits of FPGA 1, 4 ancillary words of
each. The same seed, rows and mode give the same bytes.

  mixed     every trap (default)
  plain     cycles, muons and late hits only: no restart, no corrupt word
  skew      as mixed, and the FPGAs drift up to 20 000 orbits apart
  restarts  a counter restart every few scenes, with stragglers
  corrupt   many corrupt words, also bursts that agree among themselves
  epochs    over 64 counter restarts while an FPGA stays behind in the first epoch
  silent    FPGAs that fall silent, grow sparse, and return
  bad       as mixed, and rows that are no words
  hits      as mixed, without ancillary words
  tail      as mixed, and the stream ends in 7 s of words that the default filter
            sets aside

What is written has been checked with dtcheck: with the default cleansing a stream of
2000 rows or more has late hits, and two chambers or more with drift times.
"""

import argparse
import random
import struct
import sys

import dtcheck

MODES = ("mixed", "plain", "skew", "restarts", "epochs", "corrupt", "silent", "bad", "hits", "tail")
HEADER = "HEAD,FPGA,TDC_CHANNEL,ORBIT_CNT,BX_COUNTER,TDC_MEAS"
WINDOW = 56117                      # 5 s in orbits
SECOND = 11223
STALE = 3387200956
START = 616953
OFFSETS = (2817, 3042, 2865, 2772, 11700)           # 1/30 ns; the last is the LCP map's
DRIFT_EDGES = (0, 300, 3000, 11700, 15000, 29700, 30000)      # 1/30 ns: 0 … 1000 ns


def nearest_half(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


class Detector:
    def __init__(self, seed, rows, mode):
        self.rng = random.Random(f"{mode} {seed}")
        self.rows = rows
        self.mode = mode
        self.out = []
        self.now = STALE                        # the clock, in orbits
        self.queue = {0: [], 1: []}             # what each FPGA has still to tell, in its order
        self.newest = {0: STALE, 1: STALE}      # the newest orbit each has told
        self.skew = {0: 0, 1: 0}                # how far each lags behind the clock
        self.skew_limit = 20000 if mode == "skew" else 600
        self.ahead = {0: 138000, 1: 114000}     # how far its ancillary words run ahead
        self.seen_orbit = {0: STALE, 1: STALE}  # up to where hits have been made
        self.lagging = self.rng.randrange(2)
        self.hot = self.rng.randrange(64)
        self.trap_rate = self.rng.choice((0.02, 0.05, 0.15))

    # ---------------------------------------------------------------- writing

    def full(self):
        return len(self.out) >= self.rows

    def chance(self, p):
        return self.rng.random() < p

    def row(self, *fields):
        if self.full():
            return
        if self.mode == "bad" and self.chance(0.01):
            self.out.append(self.rng.choice(BAD_ROWS))
            if self.full():
                return
        self.out.append(",".join(map(str, fields)))

    def hit(self, fpga, channel, orbit, bx=None, tdc=None):
        bx = self.rng.randrange(3564) if bx is None else bx
        tdc = self.rng.randrange(30) if tdc is None else tdc
        self.row(2, fpga, channel, orbit & 0xFFFFFFFF, bx, tdc)

    def ancillary(self, fpga):
        """One ancillary word, with an orbit that runs ahead."""
        r = self.rng
        self.ahead[fpga] += r.choice((0, 0, 0, r.randrange(200)))
        orbit = min(self.newest[fpga] + self.ahead[fpga], 0xFFFFFFFF)
        head = r.choice((0, 1, 3, 4, 5))
        if head == 0:
            self.row(0, fpga, r.randrange(32), orbit, r.randrange(4096), r.randrange(32))
        elif head == 1:
            self.row(1, fpga, 0, orbit, 0, r.randrange(256))
        elif head == 3:
            self.row(3, fpga, 0, orbit, r.randrange(65536), 0)
        else:
            size = 1 if head == 4 else 100
            x = nearest_half(r.choice((r.uniform(-size, size), r.uniform(-size, size), 0.0, -0.0)))
            self.row(head, fpga, 0, orbit, 0, f"{x:.6f}")

    def cycle(self):
        """4 hits of each FPGA that it has queued, and 4 ancillary words of each."""
        told = False
        for fpga in (0, 1):
            for _ in range(4):
                if self.queue[fpga]:
                    channel, orbit, bx, tdc = self.queue[fpga].pop(0)
                    self.newest[fpga] = orbit
                    self.hit(fpga, channel, orbit, bx, tdc)
                    told = True
        if self.mode != "hits":
            order = [0, 0, 0, 0, 1, 1, 1, 1]
            if self.chance(0.5):
                self.rng.shuffle(order)
            for fpga in order:
                self.ancillary(fpga)
        return told

    def flush(self):
        while not self.full() and (self.queue[0] or self.queue[1]):
            self.cycle()

    # ----------------------------------------------------------- what happens

    def put(self, fpga, channel, orbit, bx=None, tdc=None):
        r = self.rng
        bx = r.randrange(3564) if bx is None else bx
        tdc = r.randrange(30) if tdc is None else tdc
        self.queue[fpga].append((channel, orbit, bx, tdc))

    def channel(self):
        r = self.rng
        x = r.random()
        if x < 0.15:
            return self.hot
        if x < 0.18:
            return 138
        if x < 0.20:
            return r.randrange(129, 512)
        if x < 0.21:
            return 128
        return r.randrange(128)

    def noise(self, fpga, low, high, most=4):
        """A few hits of one FPGA in orbits [low, high), in order but for steps back of 1."""
        r = self.rng
        if high <= low:
            return
        orbits = sorted(r.randrange(low, high) for _ in range(r.randint(1, most)))
        for orbit in orbits:
            if self.chance(0.03) and orbit > 0:
                orbit -= 1
            bx, tdc = r.randrange(3564), r.randrange(30)
            if self.chance(0.03):
                bx = r.randrange(3564, 4096)
            if self.chance(0.05):
                tdc = r.choice((30, 31))
            channel = self.channel()
            self.put(fpga, channel, orbit, bx, tdc)
            if self.chance(0.05):
                self.put(fpga, channel, orbit, bx, tdc)         # the same again

    def muon(self, orbit):
        """8 to 20 hits in one orbit over the chambers, with scintillator hits."""
        r = self.rng
        bx = r.randrange(100, 3460)
        start = bx * 30 + r.randrange(30)
        triggers = [start]
        if self.chance(0.25):
            triggers.append(start + r.choice((0, 1, 30, 90, 700)))
        told = {0: [], 1: []}

        def tell(fpga, channel, time):
            tdc = time % 30
            told[fpga].append((channel, orbit, time // 30, tdc))

        if not self.chance(0.05):
            for time in triggers:
                tell(1, 128, time)
                if self.chance(0.5):
                    tell(r.choice((0, 1)), 139, time)           # the LCP map's
        for _ in range(r.randint(8, 20)):
            chamber = r.randrange(4)
            tell(chamber // 2, 64 * (chamber % 2) + r.randrange(64), start + self.drift(chamber))
        if self.chance(0.5):                                    # a clean track: all 4 layers
            chamber, cell = r.randrange(4), 4 * r.randrange(16)
            for layer in range(4):
                if not self.chance(0.15):
                    tell(chamber // 2, 64 * (chamber % 2) + cell + layer, start + r.randrange(468))
        if self.chance(0.1):                                    # a shower: over 16 wires
            chamber = r.randrange(4)
            for cell in r.sample(range(64), r.randint(15, 40)):
                tell(chamber // 2, 64 * (chamber % 2) + cell, start + r.randrange(400))
        for fpga, hits in told.items():
            r.shuffle(hits)
            if hits and self.chance(0.3):
                hits.append(hits[0])                            # a channel twice
            self.queue[fpga] += hits

    def drift(self, chamber):
        """Ticks between the trigger and a hit: in the box, on an edge, or far out."""
        r = self.rng
        x = r.random()
        if x < 0.55:
            return r.randrange(468)                             # 390 ns
        if x < 0.85:                                            # nearest to an edge
            offset = OFFSETS[chamber] if self.chance(0.7) else OFFSETS[4]
            edge = r.choice(DRIFT_EDGES) if self.chance(0.7) else 300 * r.randrange(101)
            return (edge - offset) // 25 + r.choice((0, 1))
        return r.choice((-1, 1)) * r.randrange(468, 3000)       # underflow, overflow

    def advance(self, orbits, muon=0.1):
        """The clock moves on; what the FPGAs saw on the way is queued."""
        self.now += orbits
        muon_orbit = None
        if self.chance(muon):
            muon_orbit = self.now - max(self.skew.values()) + 1
        for fpga in (0, 1):
            low, high = self.seen_orbit[fpga], max(0, self.now - self.skew[fpga])
            high = max(low, high)
            if muon_orbit is not None:
                high = max(low, min(high, muon_orbit))
            self.noise(fpga, low, high)
            self.seen_orbit[fpga] = high
        if muon_orbit is not None:
            # Both FPGAs have told all before it; the one that leads tells it earlier.
            orbit = max(self.seen_orbit.values())
            self.muon(orbit)
            for fpga in (0, 1):
                self.seen_orbit[fpga] = orbit

    def grow_skew(self):
        step = self.rng.choice((0, 5, 40)) if self.skew_limit == 600 else self.rng.choice((0, 300, 2000))
        self.skew[self.lagging] = min(self.skew_limit, self.skew[self.lagging] + step)

    def set_clock(self, orbit, fpgas=(0, 1)):
        self.now = orbit
        for fpga in fpgas:
            self.seen_orbit[fpga] = orbit
        for fpga in (0, 1):
            self.skew[fpga] = 0
            self.ahead[fpga] = self.rng.randrange(20095)

    # ------------------------------------------------------------------- traps

    def late_hit(self):
        """A hit of an FPGA far behind its newest."""
        fpga = self.rng.randrange(2)
        back = self.rng.choice((500, 2000, 20000, 60000, 65536, self.rng.randrange(500, 60000)))
        self.hit(fpga, self.rng.randrange(128), max(0, self.newest[fpga] - back))

    def corrupt_words(self):
        """Words with a random orbit, alone or a few; sometimes of an FPGA not there."""
        r = self.rng
        fpga = r.choice((0, 1, 0, 1, r.randrange(8)))
        for _ in range(r.choice((1, 1, 1, 2, 3, 7))):
            self.hit(fpga, self.channel(), r.getrandbits(32))

    def false_jump(self):
        """A burst that agrees about an orbit that is not the detector's."""
        r = self.rng
        fpga = r.randrange(2)
        orbit = max(0, self.newest[fpga] + r.choice((-1, 1)) * r.randrange(65000, 3000000))
        for _ in range(r.choice((2, 6, 7, 8, 9, 12))):
            orbit += r.randrange(20)
            self.hit(fpga, self.channel(), orbit)
            if self.chance(0.2):
                self.corrupt_words()

    def stranger(self):
        """A hit of an FPGA that the map does not name."""
        self.hit(self.rng.randrange(2, 8), self.channel(), self.newest[0])

    def trap(self):
        r = self.rng
        traps = [self.late_hit]
        if self.mode != "plain":
            traps += [self.corrupt_words]
            if self.chance(0.2):
                traps += [self.stranger]
            if self.chance(0.1) or self.mode == "corrupt":
                traps += [self.false_jump]
        r.choice(traps)()

    # ------------------------------------------------------------------ scenes

    def live(self, cycles, step=None, muon=0.1):
        step = step or self.rng.choice((20, 90, 90, 1000, 5000))
        for _ in range(cycles):
            if self.full():
                return
            self.grow_skew()
            self.advance(self.rng.randrange(1, 2 * step), muon)
            while len(self.queue[0]) >= 4 and len(self.queue[1]) >= 4:
                self.cycle()
            if len(self.queue[0]) + len(self.queue[1]) > 24:
                self.flush()
            if self.chance(self.trap_rate if self.mode != "corrupt" else 0.4):
                self.trap()

    def stale(self):
        """The words left over from before the run."""
        self.seen_orbit = {0: self.now, 1: self.now}
        for _ in range(self.rng.randint(2, 6)):
            self.advance(self.rng.randrange(10, 200), 0.1)
        self.flush()

    def restart(self, orbit):
        """Both counters begin anew; one FPGA tells it first, the other has a few old hits."""
        self.flush()
        r = self.rng
        first = r.randrange(2)
        other = 1 - first
        old = self.newest[other]
        self.set_clock(orbit, (first,))
        for _ in range(r.randint(1, 5)):
            self.now += r.randrange(5, 100)
            self.noise(first, self.seen_orbit[first], self.now)
            self.seen_orbit[first] = self.now
            for _ in range(r.randint(1, 4)):
                old += r.randrange(30)
                self.put(other, self.channel(), min(old, 0xFFFFFFFF))
            if self.chance(0.1):                # one word as if it had followed, and back again
                self.put(other, self.channel(), self.now)
                self.put(other, self.channel(), min(old, 0xFFFFFFFF))
            self.cycle()
        self.flush()
        self.seen_orbit[other] = orbit
        for _ in range(3):
            self.advance(r.randrange(20, 100), 0.3)
        self.flush()

    def jump(self, orbit):
        """Both counters jump forward, one a little earlier than the other."""
        self.flush()
        first = self.rng.randrange(2)
        self.set_clock(orbit, (first,))
        for _ in range(self.rng.randint(0, 3)):
            self.noise(first, self.now, self.now + 1)
            self.noise(1 - first, self.seen_orbit[1 - first], self.seen_orbit[1 - first] + 20)
            self.seen_orbit[1 - first] += 20
        self.flush()
        self.set_clock(orbit)

    def edge(self, orbit):
        """Hits and muons in the two orbits beside an edge of Hist_2 or of a window."""
        self.jump(orbit - self.rng.choice((3, 40)))
        self.noise(0, self.now, orbit - 1)
        self.noise(1, self.now, orbit - 1)
        for o in (orbit - 1, orbit, orbit + 1):
            self.noise(0, o, o + 1, 2)
            self.noise(1, o, o + 1, 2)
            if self.chance(0.6):
                self.muon(o)
        self.flush()
        self.set_clock(orbit + 2)
        self.live(self.rng.randint(2, 4), 50)
        self.flush()

    def gap(self):
        """A silence of just a second, or of more."""
        self.flush()
        last = max(self.newest.values())
        self.set_clock(last + self.rng.choice((SECOND - 1, SECOND, SECOND + 1, 30000, 60000)))
        self.put(0, self.rng.randrange(128), self.now)
        self.advance(50, 0.5)
        self.flush()

    def silence(self):
        """One FPGA tells nothing for longer than the lateness, then all of it, or none."""
        self.flush()
        silent = self.rng.randrange(2)
        held = []
        end = self.now + self.rng.randrange(115000, 160000)
        while self.now < end and not self.full():
            self.advance(self.rng.randrange(2000, 15000), 0.1)
            held += self.queue[silent]
            self.queue[silent] = []
            self.flush()
        if self.chance(0.6):
            self.queue[silent] = held
        self.flush()

    def sparse(self):
        """One FPGA tells hardly anything, and both jump."""
        self.flush()
        slow = self.rng.randrange(2)
        self.queue[slow].clear()
        begin = len(self.out)
        if self.chance(0.5):
            self.set_clock(self.now + self.rng.randrange(70000, 300000))
            self.hit(slow, self.rng.randrange(128), self.now)       # the slow one jumps first
        while len(self.out) - begin < self.rng.randrange(300, 1500) and not self.full():
            self.advance(self.rng.randrange(20, 100), 0)
            if self.chance(0.9):
                self.queue[slow].clear()
            self.flush()

    def filtered_tail(self):
        """Only words that the default filter sets aside, over more than a window."""
        self.flush()
        for _ in range(60):
            self.now += SECOND // 8
            for fpga in (0, 1):
                self.put(fpga, 138, self.now)
        while self.queue[0]:
            self.cycle()

    def last_words(self):
        """A jump that the end of the source decides about."""
        self.flush()
        fpga = self.rng.randrange(2)
        orbit = self.newest[fpga] + self.rng.choice((-400000, 400000))
        for _ in range(self.rng.randint(1, 7)):
            self.hit(fpga, self.rng.randrange(128), max(0, orbit) + self.rng.randrange(50))
            if self.chance(0.3):
                self.corrupt_words()

    # -------------------------------------------------------------- the stream

    def must_have(self):
        """What even a short stream has: muons in time, then late hits."""
        self.flush()
        for _ in range(2):
            self.advance(30, 0)
            orbit = max(self.seen_orbit.values())
            self.muon_everywhere(orbit)
            self.set_clock(orbit)
            self.advance(40, 0)
            self.flush()
        for fpga in (0, 1):
            self.hit(fpga, self.rng.randrange(128), max(0, self.newest[fpga] - 1000))

    def muon_everywhere(self, orbit):
        start = 1000 * 30
        for chamber in range(4):
            for cell in range(3):
                self.put(chamber // 2, 64 * (chamber % 2) + cell, orbit, 1000 + cell, 7)
        self.put(1, 128, orbit, start // 30, 0)

    def scenes(self):
        """The scenes of a stream, as (function, arguments), shuffled where order is free."""
        r = self.rng
        edges = [600000, 1100000, 10000001]
        window = r.randrange(12, 170) * WINDOW
        live = [(self.live, (r.randint(3, 8),)) for _ in range(3)]
        if self.mode == "plain":
            return [(self.live, (20,)), (self.gap, ()), (self.live, (20,))]
        if self.mode == "restarts":
            return live[:1] + [(self.restart, (r.randrange(700000),))] + live[1:]
        if self.mode == "epochs":
            falls = [(self.restart, (START + 100000 * k,)) for k in range(100, 0, -1)]
            return [(self.restart, (STALE,)), (self.stranger, ())] + falls
        if self.mode == "corrupt":
            return live + [(self.false_jump, ()), (self.restart, (r.randrange(700000),))]
        if self.mode == "silent":
            return live + [(self.silence, ()), (self.sparse, ())]
        climb = [(self.edge, (o,)) for o in sorted(edges + [window, 10000000 - r.randrange(2)])]
        others = live + [(self.gap, ()), (self.silence, ())]
        r.shuffle(others)
        return climb + others + [(self.sparse, ()), (self.restart, (r.randrange(600000),))]

    def stream(self):
        r = self.rng
        if self.mode == "plain":
            self.set_clock(START)
            self.newest = {0: START, 1: START}
        else:
            self.stale()
            self.restart(r.choice((START, r.randrange(590000, 599900))))
        self.live(4, 90)
        self.must_have()
        tail = {"tail": 500}.get(self.mode, 30)
        total, self.rows = self.rows, max(0, self.rows - tail)
        first = True
        while not self.full():
            for scene, arguments in self.scenes():
                before = self.rows
                if first and total < 4000 and scene != self.live:
                    # A short stream gives no scene all the room.
                    self.rows = min(before, len(self.out) + max(80, total // 8))
                scene(*arguments)
                self.rows = before
            first = False
        self.rows = total
        self.queue = {0: [], 1: []}
        if self.mode == "tail":
            self.filtered_tail()
        elif self.mode != "plain" and self.chance(0.5):
            self.last_words()
        while not self.full():
            self.advance(50, 0) if self.mode != "tail" else self.put(0, 138, self.now)
            self.cycle()
        return self.out


BAD_ROWS = (
    "x", "2,1,5", "2,0,5,617000,100,3,7", "2,0,12x,617000,100,3", "2,0,512,617000,100,3",
    "8,0,5,617000,100,3", "2,8,5,617000,100,3", "2,0,5,4294967296,100,3", "2,0,5,617000,4096,3",
    "2,0,5,617000,100,32", "2,0,5,617000,100,-1", "2,0,-5,617000,100,3", "2,0,5,,100,3",
    "2,0,5,617000,100,0.5", "4,0,0,617000,0,1.2.3", "2,0,5,-617000,100,3",
)


def verify(rows):
    """By dtcheck's functions: late hits, and drift times in two chambers."""
    records = [dtcheck.parse_row(row) for row in rows]
    settings = dtcheck.Settings(None, (0, 170, 5), (600000, 10000000, 500000), (0, 1000, 10), "minidt")
    (line,), total = dtcheck.check(records, settings)
    chambers = [line[f"Chamber_{c}"] for c in dtcheck.CHAMBERS]
    filled = sum(any(c["Hist_4"]["Counts"]) for c in chambers)
    assert sum(c["Late"] for c in chambers) > 0, "no late hits"
    assert filled >= 2, f"drift times in {filled} chambers only"
    return line, total


def main():
    p = argparse.ArgumentParser(description="seeded streams with every trap of the data")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rows", type=int, default=20000)
    p.add_argument("--mode", choices=MODES, default="mixed")
    a = p.parse_args()
    rows = Detector(a.seed, a.rows, a.mode).stream()
    assert len(rows) == a.rows
    if a.rows >= 2000:
        verify(rows)
    sys.stdout.write("\n".join([HEADER, *rows]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
