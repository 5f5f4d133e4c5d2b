#!/usr/bin/env python3
"""dtstats: two histograms compared, by scipy.

    dtstats.py < PAIRS

PAIRS is a JSON list of pairs of lists of counts. Prints a JSON list of {"chi2", "ndf", "p", "d", "ks_p"}: chi2_contingency (without correction) of
the table with adjacent bins merged from the left until all expected counts are 5 or more, what is left over at the right joining the last bin; and the
Kolmogorov-Smirnov distance of the cumulative shares at the bins' edges with its asymptotic p. Where there is nothing to say the value is null.
"""

import json
import sys

import numpy
from scipy.special import kolmogorov
from scipy.stats import chi2_contingency


def merged(a, b):
    total = numpy.array([sum(a), sum(b)], float)
    share = total / total.sum()
    columns, column = [], numpy.zeros(2)
    for pair in zip(a, b, strict=True):
        column = column + pair
        if (column.sum() * share >= 5).all():
            columns.append(column)
            column = numpy.zeros(2)
    if column.any():
        if columns:
            columns[-1] = columns[-1] + column
        else:
            columns = [column]
    return numpy.array(columns).T


def compare(a, b):
    out = {"chi2": None, "ndf": 0, "p": None, "d": None, "ks_p": None}
    n = max(len(a), len(b))
    a, b = a + [0] * (n - len(a)), b + [0] * (n - len(b))
    if not sum(a) or not sum(b):
        return out
    table = merged(a, b)
    if table.shape[1] > 1:
        chi2, p, ndf, _ = chi2_contingency(table, correction=False)
        out.update(chi2=chi2, ndf=int(ndf), p=p)
    d = float(numpy.abs(numpy.cumsum(a) / sum(a) - numpy.cumsum(b) / sum(b)).max())
    out.update(d=d, ks_p=float(kolmogorov(d * (sum(a) * sum(b) / (sum(a) + sum(b))) ** 0.5)))
    return out


print(json.dumps([compare(a, b) for a, b in json.load(sys.stdin)]))
