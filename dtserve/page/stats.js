// Comparison of two histograms. Pure: no DOM, so that Node and the browser run the same code.
//
//   chi2(a, b) → {chi2, ndf, p, bins}   two lists of counts; two-sample χ² of the 2 × k contingency table, adjacent bins
//                                       merged until every expected count is at least 5. Equal to
//                                       scipy.stats.chi2_contingency(correction=False) of merge(a, b).
//   ks(a, b)   → {d, p, approximate: true}   Kolmogorov–Smirnov distance of the cumulative shares at the bins' edges; p by the
//                                       asymptotic formula with n = n1·n2/(n1 + n2). Binned data make it approximate (p too high).
//   merge(a, b) → [[…], […]]            the merged table
//   wilson(found, eligible, z = 1) → [lo, hi]   the Wilson score interval of a binomial share (z = 1: 68.3 %)
//   quantile(sorted, q)                 linear between ranks
//
// Totals need not agree: both tests compare shapes. Where nothing can be said (a list without counts, a single bin),
// p is NaN and ndf 0.

const sum = list => list.reduce((s, v) => s + v, 0);

// merge joins adjacent bins, from the left, until both expected counts of each bin are ≥ 5; what is left over at the
// right joins the last bin. Bins empty in both lists vanish into their neighbours.
export function merge(a, b, least = 5) {
  const n = Math.max(a.length, b.length);
  const totalA = sum(a), totalB = sum(b), total = totalA + totalB;
  const outA = [], outB = [];
  if (!(totalA > 0) || !(totalB > 0)) return [outA, outB];
  const smaller = Math.min(totalA, totalB), bound = least * total; // expected counts are (x + y)·smaller / total; no division, no rounding
  let x = 0, y = 0;
  for (let i = 0; i < n; i++) {
    x += a[i] ?? 0;
    y += b[i] ?? 0;
    if ((x + y) * smaller >= bound) {
      outA.push(x);
      outB.push(y);
      x = y = 0;
    }
  }
  if (x + y > 0) {
    if (outA.length) {
      outA[outA.length - 1] += x;
      outB[outB.length - 1] += y;
    } else {
      outA.push(x);
      outB.push(y);
    }
  }
  return [outA, outB];
}

export function chi2(a, b) {
  const [x, y] = merge(a, b);
  const k = x.length;
  if (k < 2) return { chi2: 0, ndf: 0, p: NaN, bins: k };
  const totalX = sum(x), totalY = sum(y), total = totalX + totalY;
  let value = 0;
  for (let i = 0; i < k; i++) {
    const both = x[i] + y[i];
    const ex = both * totalX / total, ey = both * totalY / total;
    value += (x[i] - ex) ** 2 / ex + (y[i] - ey) ** 2 / ey;
  }
  return { chi2: value, ndf: k - 1, p: gammaQ((k - 1) / 2, value / 2), bins: k };
}

export function ks(a, b) {
  const n = Math.max(a.length, b.length);
  const totalA = sum(a), totalB = sum(b);
  if (!(totalA > 0) || !(totalB > 0)) return { d: NaN, p: NaN, approximate: true };
  let ca = 0, cb = 0, d = 0;
  for (let i = 0; i < n; i++) {
    ca += a[i] ?? 0;
    cb += b[i] ?? 0;
    d = Math.max(d, Math.abs(ca / totalA - cb / totalB));
  }
  return { d, p: kolmogorov(d * Math.sqrt(totalA * totalB / (totalA + totalB))), approximate: true };
}

// kolmogorov is the survival function of the limiting distribution, 2 Σ (−1)^(k−1) exp(−2 k² x²); below 1 by the series that
// converges there (Jacobi's transformation).
export function kolmogorov(x) {
  if (!(x > 0)) return 1;
  if (x < 1) {
    let s = 0;
    for (let k = 1; k < 40; k += 2) {
      const term = Math.exp(-k * k * Math.PI * Math.PI / (8 * x * x));
      if (term === 0) break;
      s += term;
    }
    return 1 - Math.sqrt(2 * Math.PI) / x * s;
  }
  let s = 0;
  for (let k = 1; k < 40; k++) {
    const term = Math.exp(-2 * k * k * x * x);
    if (term === 0) break;
    s += k % 2 ? term : -term;
  }
  return Math.min(1, 2 * s);
}

// gammaQ(a, x) is the regularised upper incomplete gamma function, for a a multiple of 1/2 as χ² needs it, but right for any
// a > 0: a series below a + 1, a continued fraction (Lentz) above.
export function gammaQ(a, x) {
  if (!(a > 0) || !(x >= 0)) return NaN;
  if (x === 0) return 1;
  if (x === Infinity) return 0;
  const front = Math.exp(logFront(a, x));
  if (x < a + 1) {
    let term = 1 / a, s = term;
    for (let n = 1; n < 100000; n++) {
      term *= x / (a + n);
      s += term;
      if (term < s * 1e-17) break;
    }
    return 1 - s * front;
  }
  const tiny = 1e-300;
  let b = x + 1 - a, c = 1 / tiny, d = 1 / b, h = d;
  for (let i = 1; i < 100000; i++) {
    const an = -i * (i - a);
    b += 2;
    d = an * d + b;
    if (Math.abs(d) < tiny) d = tiny;
    c = b + an / c;
    if (Math.abs(c) < tiny) c = tiny;
    d = 1 / d;
    const step = d * c;
    h *= step;
    if (Math.abs(step - 1) < 1e-16) break;
  }
  return h * front;
}

// logFront is ln(x^a e^−x / Γ(a)). Above a = 10 the large terms are taken out by hand (Stirling), since their difference
// would lose digits: with x = a(1 + m), a ln x − x − lnΓ(a) = −a (m − ln(1 + m)) + ln(a / 2π)/2 − Stirling's rest.
function logFront(a, x) {
  if (a < 10) return a * Math.log(x) - x - logGamma(a);
  const m = (x - a) / a;
  return -a * logMinus(m) + 0.5 * Math.log(a / (2 * Math.PI)) - stirling(a);
}

// logMinus is m − ln(1 + m), by its series where m is small.
function logMinus(m) {
  if (Math.abs(m) > 0.05) return m - Math.log1p(m);
  let term = m * m, s = 0;
  for (let n = 2; n < 40; n++) {
    s += (n % 2 ? -1 : 1) * term / n;
    term *= m;
    if (Math.abs(term) < 1e-20 * Math.abs(s)) break;
  }
  return s;
}

// stirling is lnΓ(a) − [(a − 1/2) ln a − a + ln(2π)/2], for a ≥ 10 exact to double precision.
function stirling(a) {
  const r = 1 / (a * a);
  return (1 / 12 + r * (-1 / 360 + r * (1 / 1260 + r * (-1 / 1680 + r * (1 / 1188 + r * (-691 / 360360 + r / 156)))))) / a;
}

function logGamma(a) {
  let shift = 0; // lnΓ(a) = lnΓ(a + n) − ln(a (a + 1) …)
  let product = 1;
  while (a < 10) {
    product *= a;
    a += 1;
    if (product > 1e250) { shift += Math.log(product); product = 1; }
  }
  return (a - 0.5) * Math.log(a) - a + 0.5 * Math.log(2 * Math.PI) + stirling(a) - shift - Math.log(product);
}

export function wilson(found, eligible, z = 1) {
  if (!(eligible > 0)) return [0, 1];
  const share = found / eligible, zz = z * z;
  const middle = (share + zz / (2 * eligible)) / (1 + zz / eligible);
  const half = z / (1 + zz / eligible) * Math.sqrt(share * (1 - share) / eligible + zz / (4 * eligible * eligible));
  return [found === 0 ? 0 : Math.max(0, middle - half), found === eligible ? 1 : Math.min(1, middle + half)];
}

export function quantile(sorted, q) {
  if (!sorted.length) return NaN;
  const at = q * (sorted.length - 1), low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low);
}
