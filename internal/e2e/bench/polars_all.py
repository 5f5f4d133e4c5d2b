"""The job of dtcat | dtfilter | dtchamber | dthist --window all in Polars: polars_all.py rows.csv"""

import os
import sys

os.environ["POLARS_MAX_THREADS"] = "2"

import polars as pl  # noqa: E402

import peer  # noqa: E402

schema = {
    "HEAD": pl.UInt8,
    "FPGA": pl.UInt8,
    "TDC_CHANNEL": pl.UInt16,
    "ORBIT_CNT": pl.UInt32,
    "BX_COUNTER": pl.UInt16,
    "TDC_MEAS": pl.Float32,
}
fpga, channel, orbit, chamber = pl.col("FPGA"), pl.col("channel"), pl.col("orbit"), pl.col("chamber")

# One pass over the file leaves the hits; t is in ticks of 25/30 ns.
hits = (
    pl.scan_csv(sys.argv[1], schema=schema, quote_char=None)
    .filter(pl.col("HEAD") == 2, pl.col("TDC_CHANNEL") <= 128, fpga <= 1, (pl.col("TDC_CHANNEL") < 128) | (fpga == 1))
    .select(
        chamber=pl.when(pl.col("TDC_CHANNEL") == 128)
        .then(pl.lit(0, pl.UInt8))
        .otherwise(1 + 2 * fpga + (pl.col("TDC_CHANNEL") >= 64).cast(pl.UInt8)),
        channel="TDC_CHANNEL",
        orbit="ORBIT_CNT",
        t=(pl.col("ORBIT_CNT").cast(pl.Int64) * 3564 + pl.col("BX_COUNTER")) * 30 + pl.col("TDC_MEAS").cast(pl.Int64),
    )
    .collect(engine="streaming")
)
inside = hits.lazy().filter(chamber > 0)
channels = inside.group_by("chamber", "channel").agg(pl.len())
# One key for chamber, orbit and channel is faster than three.
distinct = (
    inside.select(key=(orbit.cast(pl.UInt64) * 8 + chamber) * 64 + channel % 64)
    .unique()
    .group_by(key=pl.col("key") // 64)
    .agg(n=pl.len())
    .select(chamber=pl.col("key") % 8, orbit=(pl.col("key") // 8).cast(pl.Int64), n="n")
)
active = distinct.group_by(
    "chamber",
    bin=pl.when(orbit < 600_000).then(-1).when(orbit > 10_000_000).then(19).otherwise((orbit - 600_000) // 500_000),
).agg(pl.col("n").sum())
multiplicity = distinct.group_by("chamber", "n").agg(pl.len())
triggers = hits.lazy().filter(chamber == 0).group_by("orbit").agg(t0=pl.col("t").min())
offsets = pl.DataFrame({"chamber": range(1, 5), "offset": peer.OFFSETS}, schema={"chamber": pl.UInt8, "offset": pl.Int64})
muons = (
    inside.join(triggers, on="orbit")
    .join(offsets.lazy(), on="chamber")
    .select("chamber", "channel", drift=25 * (pl.col("t") - pl.col("t0")) + pl.col("offset"))
)
radiography = muons.group_by("chamber", "channel").agg(pl.len())
drift = muons.group_by("chamber", bin=pl.max_horizontal(pl.col("drift") // 300, -1)).agg(pl.len())
tables = pl.collect_all([channels, active, multiplicity, radiography, drift])
peer.show(*(peer.table(t.rows()) for t in tables))
