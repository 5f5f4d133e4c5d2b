"""Prints what bench measured as a table with the targets: summary.py results rows."""

import os
import platform
import statistics
import sys
import time

measured = {}
for line in open(sys.argv[1], encoding="utf-8"):
    name, what, value = line.split()
    measured.setdefault((name, what), []).append(float(value))
rows = int(sys.argv[2])


def median(name, what):
    return statistics.median(measured[name, what])


cpu = next((s.split(": ")[1].strip() for s in open("/proc/cpuinfo", encoding="utf-8") if s.startswith("model name")), platform.machine())
print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} x {cpu}, load {os.getloadavg()[0]:.1f} at the end, {rows} rows, medians of {len(measured['csv', 'wall'])} runs\n")

print("| job | wall s | least | CPU s | Mwords/s |")
print("| --- | --- | --- | --- | --- |")
for name, what in (
    ("cats", "CSV: cat, cat, cat, cat, wc -c"),
    ("csv", "CSV: dtcat, dtfilter, dtchamber, dthist"),
    ("duckdb", "CSV: DuckDB"),
    ("polars", "CSV: Polars"),
    ("raw", "raw: dtcat, dtfilter, dtchamber, dthist"),
    ("numpy", "raw: numpy, boost-histogram"),
):
    wall = median(name, "wall")
    print(f"| {what} | {wall:.2f} | {min(measured[name, 'wall']):.2f} | {median(name, 'cpu'):.2f} | {rows / wall / 1e6:.1f} |")

missed = 0
print("\n| what | target | measured | |")
print("| --- | --- | --- | --- |")


def target(what, text, value, form, ok):
    global missed
    missed += not ok
    print(f"| {what} | {text} | {form.format(value)} | {'PASS' if ok else 'MISSED'} |")


csv, raw = median("csv", "wall"), median("raw", "wall")
ratio = csv / median("cats", "wall")
target("CSV to the result line, by cat, cat, cat, cat, wc", "at most 1.3", ratio, "{:.2f}", ratio <= 1.3)
peer = min(median("duckdb", "wall"), median("polars", "wall")) / csv
target("the same, against the faster of DuckDB and Polars", "at least 5 x", peer, "{:.1f} x", peer >= 5)
speed = rows / raw / 1e6
target("raw words to the result line", "at least 50 Mwords/s", speed, "{:.1f} Mwords/s", speed >= 50)
peer = median("numpy", "wall") / raw
target("the same, against numpy and boost-histogram", "at least 5 x", peer, "{:.1f} x", peer >= 5)
p50, p99 = median("latency", "p50") / 1e3, median("latency", "p99") / 1e3
target("one hit through three programs, median", "under 0.5 ms", p50, "{:.3f} ms", p50 < 0.5)
target("the same, 99 % of 2000 hits", "under 2 ms", p99, "{:.3f} ms", p99 < 2)
programs = ("dtcat", "dtfilter", "dtchamber", "dthist")
for p in programs:
    peak = max(x for size in ("few", "many", "raw") for x in measured[size, p]) / 1024
    target(f"peak memory of {p}", "under 64 MiB", peak, "{:.1f} MiB", peak < 64)
# The Go runtime's own share moves by a few hundred KiB from run to run.
growth = (median("many", "dthist") - median("few", "dthist")) / 1024
target("growth of dthist, 10 x the rows", "none (under 1 MiB)", growth, "{:+.2f} MiB", growth < 1)
for p in programs:
    start = median("start", p) / 1e3
    target(f"start of {p} (true: {median('start', 'true') / 1e3:.1f} ms)", "under 10 ms", start, "{:.1f} ms", start < 10)
print(f"\n{missed} missed" if missed else "\nall met")
