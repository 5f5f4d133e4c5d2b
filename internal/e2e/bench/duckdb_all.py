"""The job of dtcat | dtfilter | dtchamber | dthist --window all in DuckDB: duckdb_all.py rows.csv"""

import sys

import duckdb

import peer

db = duckdb.connect()
db.execute("SET threads = 2; SET preserve_insertion_order = false")
# One pass over the file leaves the hits, as small as they can be; t is in ticks of 25/30 ns.
db.execute(
    """
    CREATE TEMP TABLE hits AS
    SELECT CASE WHEN FPGA = 1 AND TDC_CHANNEL = 128 THEN 0
                ELSE 1 + 2 * FPGA + TDC_CHANNEL // 64 END::UTINYINT AS chamber,
           TDC_CHANNEL AS channel,
           ORBIT_CNT AS orbit,
           (ORBIT_CNT::BIGINT * 3564 + BX_COUNTER) * 30 + TDC_MEAS::BIGINT AS t
    FROM read_csv(?, header = true, delim = ',', quote = '', escape = '', auto_detect = false,
                  columns = {HEAD: 'UTINYINT', FPGA: 'UTINYINT', TDC_CHANNEL: 'USMALLINT',
                             ORBIT_CNT: 'UINTEGER', BX_COUNTER: 'USMALLINT', TDC_MEAS: 'FLOAT'})
    WHERE HEAD = 2 AND (FPGA <= 1 AND TDC_CHANNEL < 128 OR FPGA = 1 AND TDC_CHANNEL = 128)
    """,
    [sys.argv[1]],
)
channels = db.execute("SELECT chamber, channel, count(*) FROM hits WHERE chamber > 0 GROUP BY ALL").fetchall()
# A chamber's 64 channels are a bitmap, which is faster than count(DISTINCT).
db.execute(
    """
    CREATE TEMP TABLE active AS
    SELECT chamber, orbit, bit_count(bit_or(1::UBIGINT << (channel % 64)::UBIGINT)) AS n
    FROM hits WHERE chamber > 0 GROUP BY ALL
    """
)
multiplicity = db.execute("SELECT chamber, n, count(*) FROM active GROUP BY ALL").fetchall()
active = db.execute(
    """
    SELECT chamber, CASE WHEN orbit < 600000 THEN -1 WHEN orbit > 10000000 THEN 19 ELSE (orbit - 600000) // 500000 END AS bin, sum(n)
    FROM active GROUP BY ALL
    """
).fetchall()
db.execute(
    f"""
    CREATE TEMP TABLE muons AS
    WITH triggers AS (SELECT orbit, min(t) AS t0 FROM hits WHERE chamber = 0 GROUP BY orbit)
    SELECT chamber, channel, 25 * (t - t0) + {list(peer.OFFSETS)}[chamber] AS drift
    FROM hits JOIN triggers USING (orbit) WHERE chamber > 0
    """
)
radiography = db.execute("SELECT chamber, channel, count(*) FROM muons GROUP BY ALL").fetchall()
drift = db.execute(
    "SELECT chamber, CASE WHEN drift < 0 THEN -1 ELSE least(drift // 300, 100) END AS bin, count(*) FROM muons GROUP BY ALL"
).fetchall()
peer.show(*map(peer.table, (channels, active, multiplicity, radiography, drift)))
