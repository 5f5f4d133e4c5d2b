#!/usr/bin/env python3
"""kafkaclient: does with a plain Kafka client what the published pipelines' programs do.

    kafkaclient.py send BOOTSTRAP TOPIC --as json|csv --rows FILE
                        [--seed S] [--per-ms N | --clock] [--compression none|gzip|zstd]
        Sends each row of a CSV file as a message without a key, as the producers did: a
        JSON object with the six names, or the bare row; what is no word goes as it is.
        Partitions are drawn from the seed. The time of a message is 1 ms after the one
        before; with --per-ms N messages share one; with --clock it is the client's own,
        and so is the choice of the partition.

    kafkaclient.py words BOOTSTRAP TOPIC --as json|csv --rows FILE
        Reads a topic of words to its end. By time, and within a partition by offset, the
        messages must be those that the producers would have sent for FILE, to the byte
        and without keys, and no time may stand in two partitions.

    kafkaclient.py results BOOTSTRAP TOPIC
        Reads result lines as the first pipeline's page did, and writes them as JSON.

    kafkaclient.py cosmo BOOTSTRAP TOPIC
        Reads the second pipeline's messages as its page did, and writes as JSON the sums
        of what they say.

Exits 1 with the first thing that is wrong. It needs Debian's python3-confluent-kafka.
"""

import argparse
import ast
import json
import random
import re
import sys
import time

import confluent_kafka

NAMES = ("HEAD", "FPGA", "TDC_CHANNEL", "ORBIT_CNT", "BX_COUNTER", "TDC_MEAS")
FLOATS = ("ORBIT_CNT", "TDC_MEAS")
PATIENCE = 30  # s


def rows(path):
    with open(path, newline="") as f:
        for line in f.read().splitlines():
            if not line.startswith("HEAD,"):
                yield line


def payload(row, form):
    """The message of a row as bytes."""
    fields = row.split(",")
    number = r"-?[0-9]+(\.[0-9]+)?|-?(inf|nan)"
    if form == "csv" or len(fields) != len(NAMES) or not all(re.fullmatch(number, f) for f in fields):
        return row.encode()
    values = {n: float(f) if n in FLOATS else int(f) if f.lstrip("-").isdigit() else float(f) for n, f in zip(NAMES, fields)}
    return json.dumps(values).encode()


def partitions_of(client, topic):
    """The partitions of a topic, which may have been made just now."""
    for _ in range(10 * PATIENCE):
        found = client.list_topics(topic, PATIENCE).topics[topic].partitions
        if found:
            return list(found)
        time.sleep(0.1)
    sys.exit(f"kafkaclient: there is no topic {topic}")


def send(a):
    draw = random.Random(a.seed)
    producer = confluent_kafka.Producer({
        "bootstrap.servers": a.bootstrap, "acks": "all", "compression.type": a.compression,
        "linger.ms": 5, "sticky.partitioning.linger.ms": 0, "queue.buffering.max.messages": 1000000,
        "max.in.flight.requests.per.connection": 1,     # or what is tried again comes behind the next
    })
    partitions = len(partitions_of(producer, a.topic))
    failed = []

    def delivered(error, _):
        if error is not None:
            failed.append(error)

    messages = [payload(row, a.form) for row in rows(a.rows)]
    start = int(time.time() * 1000) - len(messages) // a.per_ms - 1000
    for i, message in enumerate(messages):
        if a.clock:
            producer.produce(a.topic, message, on_delivery=delivered)
        else:
            producer.produce(a.topic, message, partition=draw.randrange(partitions),
                             timestamp=start + i // a.per_ms, on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(PATIENCE)
    if failed or left:
        sys.exit(f"kafkaclient: {len(failed)} messages failed, {left} were not sent: {failed[:1]}")


def read(a):
    """All messages that a topic has now, as (time, partition, offset, key, value)."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": a.bootstrap, "group.id": "kafkaclient", "enable.auto.commit": False,
        "auto.offset.reset": "error", "check.crcs": True,
    })
    ends, begins = {}, []
    for p in partitions_of(consumer, a.topic):
        at = confluent_kafka.TopicPartition(a.topic, p)
        low, high = consumer.get_watermark_offsets(at, PATIENCE)
        if low < high:
            ends[p] = high
            begins.append(confluent_kafka.TopicPartition(a.topic, p, low))
    messages = []
    if begins:
        consumer.assign(begins)
    limit = time.monotonic() + PATIENCE
    while ends:
        m = consumer.poll(1)
        if m is None:
            if time.monotonic() > limit:
                sys.exit(f"kafkaclient: nothing comes, though partitions {list(ends)} have more")
            continue
        if m.error():
            sys.exit(f"kafkaclient: {m.error()}")
        kind, when = m.timestamp()
        if kind != confluent_kafka.TIMESTAMP_CREATE_TIME:
            sys.exit(f"kafkaclient: {where(m)} has a time of kind {kind}")
        messages.append((when, m.partition(), m.offset(), m.key(), m.value()))
        if m.offset() + 1 >= ends.get(m.partition(), 0):
            ends.pop(m.partition(), None)
    consumer.close()
    return messages


def where(m):
    return f"partition {m.partition()}, offset {m.offset()}"


def words(a):
    messages = sorted(read(a), key=lambda m: m[:3])
    want = [payload(row, a.form) for row in rows(a.rows)]
    if len(messages) != len(want):
        sys.exit(f"kafkaclient: {len(messages)} messages, {len(want)} wanted")
    times = {}
    for (when, partition, offset, key, value), expected in zip(messages, want):
        place = f"kafkaclient: partition {partition}, offset {offset}"
        if key is not None:
            sys.exit(f"{place}: it has the key {key!r}")
        if value != expected:
            sys.exit(f"{place}: {value!r}, {expected!r} wanted")
        if times.setdefault(when, partition) != partition:
            sys.exit(f"{place}: its time stands in partition {times[when]} too")
    print(json.dumps({"messages": len(messages), "partitions": len(set(times.values()))}))


def results(a):
    """The first pipeline's page takes a Python literal with all chambers and histograms."""
    last = None
    for _, partition, offset, _, value in sorted(read(a)):
        place = f"kafkaclient: partition {partition}, offset {offset}"
        line = ast.literal_eval(value.decode("utf-8"))
        if last is not None and line["Index"] <= last:
            sys.exit(f"{place}: Index {line['Index']} does not rise")
        last = line["Index"]
        total = 0
        for c in range(1, 5):
            chamber = line[f"Chamber_{c}"]
            total += chamber["Count"]
            for h in range(1, 5):
                histogram = chamber[f"Hist_{h}"]
                if len(histogram["Bins"]) != len(histogram["Counts"]):
                    sys.exit(f"{place}: Chamber_{c}.Hist_{h} has {len(histogram['Counts'])} counts")
        if line["Total Count"] != total:
            sys.exit(f"{place}: Total Count is {line['Total Count']}, the chambers have {total}")
        print(json.dumps(line))


def cosmo(a):
    """The second one's page takes JSON, whole numbers as edges, and at least one orbit a chamber."""
    sums = {"messages": 0, "n": 0, "hits": [0] * 4, "tdc": [{}, {}, {}, {}], "drifts": [0] * 4}
    for _, partition, offset, _, value in sorted(read(a)):
        place = f"kafkaclient: partition {partition}, offset {offset}"
        message = json.loads(value)
        sums["messages"] += 1
        sums["n"] += message["n"]
        orbits = []
        for c in range(4):
            sums["hits"][c] += message[f"ch{c}"]
            sums["drifts"][c] += len(message[f"ch{c}_drifts"])
            for name in ("tdc_hist", "orb_hist", "tdc_hist_scint"):
                h = message[f"ch{c}_{name}"]
                if any(type(x) is not int for x in h["edg"] + h["cnt"]) or len(h["edg"]) != len(h["cnt"]):
                    sys.exit(f"{place}: ch{c}_{name} is no histogram of whole numbers")
                if h["edg"] != sorted(set(h["edg"])):
                    sys.exit(f"{place}: ch{c}_{name} does not ascend")
            low = 64 * (c % 2)
            channels = message[f"ch{c}_tdc_hist"]
            if any(not low <= x < low + 64 for x in channels["edg"]):
                sys.exit(f"{place}: ch{c}_tdc_hist has a channel of another chamber")
            for x, n in zip(channels["edg"], channels["cnt"]):
                sums["tdc"][c][x] = sums["tdc"][c].get(x, 0) + n
            if not message[f"ch{c}_orb_hist"]["edg"]:
                sys.exit(f"{place}: ch{c}_orb_hist has no orbit")
            orbits += message[f"ch{c}_orb_hist"]["edg"]
        if max(orbits) - min(orbits) > 1000000:
            sys.exit(f"{place}: orbits {min(orbits)} to {max(orbits)} in a message")
    print(json.dumps(sums))


def main():
    p = argparse.ArgumentParser(description="a plain Kafka client, as the published pipelines have")
    p.add_argument("command", choices=("send", "words", "results", "cosmo"))
    p.add_argument("bootstrap")
    p.add_argument("topic")
    p.add_argument("--as", dest="form", choices=("json", "csv"))
    p.add_argument("--rows", metavar="FILE")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--per-ms", type=int, default=1)
    p.add_argument("--clock", action="store_true")
    p.add_argument("--compression", default="none")
    a = p.parse_args()
    globals()[a.command](a)


if __name__ == "__main__":
    sys.exit(main())
