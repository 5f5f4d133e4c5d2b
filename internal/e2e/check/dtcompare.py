#!/usr/bin/env python3
"""dtcompare: are a program's result lines the expected ones?

    dtcompare.py EXPECTED_FILE ACTUAL_FILE

EXPECTED_FILE is what dtcheck.py prints, ACTUAL_FILE what dthist writes (with
--run check). Every expected key must be there and equal: integers exactly, other
numbers to 1e-9 relative. A key that is not expected is a difference too, but for
Index, Source, Settings, Ledger, Lane, Partial and Window.Run. In each actual line
Read must be the sum of its terms, and over all lines the terms must sum to
Ledger_Total. The line without orbits at the end may be there or not. Prints the first differences; exits 1 if there are any.
"""

import json
import sys

SHOWN = 20
TERMS = ("Hits", "Late", "Scintillator", "Unassigned", "Not_A_Hit", "Early", "Pending")
NOT_COMPARED = {"Index", "Source", "Settings", "Ledger", "Lane", "Partial"}
OUTSIDE_THE_SUM = {"Missing", "Doubled"}


class Comparison:
    def __init__(self):
        self.equal = 0
        self.differences = []

    def differ(self, path, text):
        self.differences.append(f"{path}: {text}")

    def compare(self, path, expected, actual):
        if isinstance(expected, dict) and isinstance(actual, dict):
            self.compare_objects(path, expected, actual)
        elif isinstance(expected, list) and isinstance(actual, list):
            if len(expected) != len(actual):
                self.differ(path, f"{len(expected)} elements expected, found {len(actual)}")
            for i, (e, a) in enumerate(zip(expected, actual)):
                self.compare(f"{path}[{i}]", e, a)
        elif same(expected, actual):
            self.equal += 1
        else:
            self.differ(path, f"expected {short(expected)}, found {short(actual)}")

    def compare_objects(self, path, expected, actual):
        for key, value in expected.items():
            if key in actual:
                self.compare(f"{path}.{key}", value, actual[key])
            else:
                self.differ(f"{path}.{key}", f"missing, expected {short(value)}")
        for key in actual.keys() - expected.keys() - allowed_extra(path, expected):
            self.differ(f"{path}.{key}", f"not expected, found {short(actual[key])}")

    def ledgers(self, total, lines):
        """The ledger of each line, and their sums against Ledger_Total."""
        sums = dict.fromkeys(("Read", *TERMS, "Set_Aside", "Rejected"), 0)
        for i, line in enumerate(lines, 1):
            path = f"line {i}.Ledger"
            try:
                ledger = line["Ledger"]
                by_stage = {s: sum(reasons.values()) for s, reasons in ledger["Set_Aside"].items()}
                terms = sum(ledger[t] for t in TERMS) + sum(by_stage.values())
                read = ledger["Read"]
            except (KeyError, TypeError, AttributeError) as e:
                self.differ(path, f"not as in RESULTS.md: {type(e).__name__} {e}")
                continue
            for key in ledger.keys() - {"Read", "Set_Aside", *TERMS} - OUTSIDE_THE_SUM:
                self.differ(f"{path}.{key}", "not expected")
            self.compare(f"{path}.Read (sum of the terms)", terms, read)
            for key in ("Read", *TERMS):
                sums[key] += ledger[key]
            sums["Rejected"] += by_stage.pop("dtcat", 0)
            sums["Set_Aside"] += sum(by_stage.values())
        self.compare("Ledger, summed", total, sums)


def allowed_extra(path, expected):
    if path.endswith(".Window"):
        return {"Run"} if expected["Spans"] else {"Run", "Seconds"}
    return NOT_COMPARED if path.startswith("line ") and "." not in path else set()


def same(expected, actual):
    if type(expected) is float and type(actual) is float:
        return abs(expected - actual) <= 1e-9 * abs(expected)
    return type(expected) is type(actual) and expected == actual


def short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse(text):
    raise ValueError(f"{text} stands in the line")


def no_twins(pairs):
    keys = [key for key, _ in pairs]
    for key in set(keys):
        if keys.count(key) > 1:
            refuse(f"{key} twice")
    return dict(pairs)


def contains_constant(value):
    if isinstance(value, dict):
        return any(map(contains_constant, value.values()))
    if isinstance(value, list):
        return any(map(contains_constant, value))
    return value is None or isinstance(value, bool)


def is_rest(line):
    """Is it the line without orbits that tells what was read after the last window?"""
    window = line.get("Window", {})
    return window.get("Clock") == "detector" and "Number" not in window


def drop_rest(c, expected, actual):
    """Where only one side ends in such a line, leave it out: whether something is read
    after the last window depends on how the stream is cut into frames."""
    e, a = is_rest(expected[-1]), is_rest(actual[-1])
    if e and not a and len(expected) == len(actual) + 1:
        expected.pop()
    if a and not e and len(actual) == len(expected) + 1:
        rest = actual.pop()
        c.compare("last line.Total Count", 0, rest.get("Total Count"))
        c.compare("last line.Window.Spans", [], rest["Window"].get("Spans"))


def read_lines(path):
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    if not lines:
        raise ValueError("the file is empty")
    objects = []
    for i, line in enumerate(lines, 1):
        try:
            value = json.loads(line, parse_constant=refuse, object_pairs_hook=no_twins)
            if not isinstance(value, dict):
                raise ValueError("no object")
            if contains_constant(value):
                refuse("true, false or null")
        except ValueError as e:
            raise ValueError(f"line {i}: {e}") from None
        objects.append(value)
    return objects


def main():
    if len(sys.argv) != 3:
        print("usage: dtcompare.py EXPECTED_FILE ACTUAL_FILE", file=sys.stderr)
        return 2
    files = []
    for path in sys.argv[1:]:
        try:
            files.append(read_lines(path))
        except (OSError, ValueError) as e:
            print(f"dtcompare: {path}: {e}", file=sys.stderr)
            return 1
    expected, actual = files
    total = expected.pop().get("Ledger_Total")
    if total is None or not expected:
        print(f"dtcompare: {sys.argv[1]}: not what dtcheck.py prints", file=sys.stderr)
        return 1

    c = Comparison()
    ledgers = list(actual)
    drop_rest(c, expected, actual)
    if len(expected) != len(actual):
        c.differ("windows", f"{len(expected)} expected, found {len(actual)}")
    for i, (e, a) in enumerate(zip(expected, actual), 1):
        c.compare(f"line {i}", e, a)
    c.ledgers(total, ledgers)

    if c.differences:
        for text in c.differences[:SHOWN]:
            print(text)
        print(f"{len(c.differences)} differences, {c.equal} fields equal")
        return 1
    print(f"{len(expected)} windows, {c.equal} fields equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
