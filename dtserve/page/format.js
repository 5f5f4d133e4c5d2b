// Numbers, units and times as the page writes them. Pure: no DOM, so Node can run it.
//
//   int(24253)        "24 253"     exact, groups of three with a narrow no-break space
//   short(12300)      "12.3k"      for ticks and tight places; exact numbers stand in read-outs and tables
//   sig(0.012345, 3)  "0.0123"     significant digits
//   pm(381.4, 3.8)    "381 ± 4"    value and error, to the error's last digit (one digit; two when it begins with 1)
//   hz(1534)          "1.53 kHz"   hz(0.0021) "2.1 mHz"
//   percent(0.123)    "12.3 %"
//   age(12.3)         "12 s"       duration(3725) "1 h 02 min"    detector(1052.01) "1 052.0 s"
//   time(unix)        "14:03:22"   dateTime(unix) "2026-03-01 14:03:22"    in the viewer's time zone
//   plural(1, "trigger") "1 trigger"
//   ORBIT             s

export const ORBIT = 89.1e-6; // s: 3564 bunch crossings of 25 ns
const GAP = "\u202f"; // narrow no-break space
const MINUS = "\u2212";

const group = digits => digits.replace(/\B(?=(\d{3})+(?!\d))/g, GAP);

// fixed writes a number with that many decimals, grouped, with a true minus sign.
export function fixed(value, decimals = 0) {
  if (!Number.isFinite(value)) return "–";
  const text = Math.abs(value).toFixed(Math.max(0, Math.min(20, decimals)));
  const dot = text.indexOf(".");
  const whole = dot < 0 ? text : text.slice(0, dot);
  const rest = dot < 0 ? "" : text.slice(dot);
  const zero = !/[1-9]/.test(text);
  return (value < 0 && !zero ? MINUS : "") + group(whole) + rest;
}

// int writes a whole number exactly; anything else as fixed(…, 0).
export const int = value => fixed(value, 0);

// sig writes a number with that many significant digits, without an exponent between 1e-4 and 1e15.
export function sig(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(Math.abs(value)));
  if (power < -4 || power >= 15) return value.toExponential(digits - 1).replace("-", MINUS).replace("e+", "e");
  const decimals = Math.max(0, digits - 1 - power);
  return fixed(Number(value.toPrecision(digits)), decimals);
}

// short writes at most three significant digits with k, M or G, without trailing zeros: 12k, 1.5M, 0.002.
export function short(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const [unit, name] = size >= 999500000 ? [1e9, "G"] : size >= 999500 ? [1e6, "M"] : size >= 1000 ? [1e3, "k"] : [1, ""];
  const power = Math.floor(Math.log10(size));
  if (power < -4) return value.toExponential(0).replace("-", MINUS);
  const text = String(Number((value / unit).toPrecision(digits)));
  return text.replace("-", MINUS) + name;
}

// pm writes a value and its error to the same place.
export function pm(value, error) {
  if (!Number.isFinite(value)) return "–";
  if (!(error > 0) || !Number.isFinite(error)) return sig(value, 3);
  let power = Math.floor(Math.log10(error));
  if (error / 10 ** power < 1.95) power--; // two digits for errors that begin with 1
  const decimals = Math.max(0, -power);
  return `${fixed(value, decimals)} ± ${fixed(error, decimals)}`;
}

// count writes a number of counts with its Poisson error: "2 301 ± 48".
export function count(n) {
  const error = Math.sqrt(n);
  return `${int(n)} ± ${error >= 10 ? int(error) : fixed(error, error > 0 ? 1 : 0)}`;
}

// hz writes a rate with its unit.
export function hz(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0 Hz";
  const size = Math.abs(value);
  if (size >= 999500) return sig(value / 1e6, digits) + " MHz";
  if (size >= 999.5) return sig(value / 1e3, digits) + " kHz";
  if (size >= 0.0995) return sig(value, digits) + " Hz";
  return sig(value * 1e3, Math.min(digits, 2)) + " mHz";
}

export const percent = (value, digits = 3) => (Number.isFinite(value) ? sig(value * 100, digits) : "–") + " %";

// age writes how old something is, in one unit or two.
export function age(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.floor(seconds));
  if (s < 100) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

// duration writes a length of time: 2 s, 1.5 s, 10 min, 1 h 02 min.
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 119.5) {
    const tenth = Math.round(seconds * 10) / 10;
    return seconds > 0 && seconds < 0.05 ? sig(seconds, 2) + " s" : fixed(tenth, Number.isInteger(tenth) || tenth >= 60 ? 0 : 1) + " s";
  }
  const minutes = Math.round(seconds / 60);
  if (seconds < 3600 && minutes < 60) {
    const rest = Math.round(seconds) % 60;
    return rest && seconds < 600 ? `${Math.floor(Math.round(seconds) / 60)} min ${String(rest).padStart(2, "0")} s` : `${minutes} min`;
  }
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

// detector writes a detector time, seconds since the orbit counter was 0.
export const detector = (seconds, decimals = 1) => fixed(seconds, decimals) + " s";

const two = n => String(n).padStart(2, "0");
export function time(unix) {
  if (!(unix > 0)) return "–";
  const d = new Date(unix * 1000);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}
export function dateTime(unix) {
  if (!(unix > 0)) return "–";
  const d = new Date(unix * 1000);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${time(unix)}`;
}

// plural(1, "trigger"): "1 trigger", "7 triggers", "24 253 hits".
export const plural = (n, word, words = word + "s") => `${int(n)} ${n === 1 ? word : words}`;
