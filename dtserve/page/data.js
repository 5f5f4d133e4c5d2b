// What the plots read: the views (sums of windows) for a span at the place in time that is looked at, and the trend rows.
//
//   data.fresh(state), data.take(state)   a whole state, and each one after it
//   data.state, data.config               the state, which has the Config too
//   data.newest                           id of the newest window; 0: none
//   data.revised                          how many windows came again, in the place of what they were before; whatever was known of them is then asked for anew
//   data.at                               id of the window that is looked at
//   data.get("window" | "recent" | "run" | "reset") → expanded View or null
//        The live spans are in the state; all others are asked for (/api/sum). Until an answer is there the one before
//        stays, so nothing flickers; of several questions only the latest counts.
//   data.problem                          why a view could not be had, since it was last set to ""
//   data.trend                            {Columns, Rows}: a row a window, ascending by id, of the kept history
//   data.shownTrend()                     the same, without what came after the view was paused
//   data.rowAt(id) → {Id, Run, Epoch, Start, …} or null;   data.neighbour(id, steps) → id
//   data.recentTrend()                    the part of it that "recent" is
//   data.behind                           windows between the one that is looked at and the newest
//   data.onChange                         called when an answer has come

import { expand } from "./expand.js";
import { view } from "./view.js";

const CACHE = 80;       // views
const REPEAT = 5000;    // ms until what could not be had is asked for again
const PATIENCE = 70;    // ms without another question before one is sent, while scrubbing

export const data = {
  state: null, config: null, trend: { Columns: [], Rows: [] }, problem: "", revised: 0, onChange: () => {},

  fresh(state) {
    this.config = state.Config;
    cache.clear();
    shown.clear();
    this.trend = { Columns: state.Columns, Rows: [] };
    column = Object.fromEntries(state.Columns.map((name, i) => [name, i]));
    filled = false;
    this.revised = state.Revised ?? 0;
    this.take(state);
    first = this.trend.Rows[0]?.[column.Id] ?? 0;
  },

  take(state) {
    this.state = { ...state, Config: this.config };
    addRows(state.Rows ?? [], state.Oldest);
    const known = this.revised;
    this.revised = state.Revised ?? 0;
    if (this.revised === known) return;
    cache.clear();
    for (const kind of [...asked.keys()]) stop(kind); // what is on its way may be of before
    if (state.Revised_From > known) fetchRows(state.Oldest, state.Id);
  },

  get newest() { return this.state?.Id ?? 0; },
  get at() { return view.at || this.newest; },
  get recentSeconds() { return view.recent || this.config?.Recent_Seconds || 600; },

  get(kind) {
    if (!this.newest) return null;
    const live = directly(kind);
    if (live) {
      const v = full(live);
      shown.set(kind, v);
      stop(kind);
      return v;
    }
    const url = address(kind);
    const had = cache.get(url);
    if (had) {
      shown.set(kind, had);
      stop(kind);
      this.problem ||= had.problem ?? "";
      return had.problem ? null : had;
    }
    ask(kind, url);
    return shown.get(kind)?.problem ? null : shown.get(kind) ?? null;
  },

  // since resets that the server has no windows for any more start at its oldest.
  get resetFrom() { return Math.min(Math.max(view.reset + 1, this.state?.Oldest ?? 1), this.at); },

  rowAt(id) {
    const row = this.trend.Rows[find(id)];
    return row && row[column.Id] === id ? Object.fromEntries(this.trend.Columns.map((name, i) => [name, row[i]])) : null;
  },

  // neighbour is the id so many windows away, within what is kept.
  neighbour(id, steps) {
    const rows = this.trend.Rows;
    return rows.length ? rows[Math.max(0, Math.min(find(view.held || this.newest), find(id) + steps))][column.Id] : id;
  },

  shownTrend() {
    return view.at ? { Columns: this.trend.Columns, Rows: this.trend.Rows.slice(0, find(view.held || this.newest) + 1) } : this.trend;
  },

  // recentTrend is the part of the trend that "recent" is the sum of.
  recentTrend() {
    const rows = this.trend.Rows, to = find(this.at), last = rows[to];
    let from = to;
    const near = row => row[column.Run] === last[column.Run] && row[column.Epoch] === last[column.Epoch] && row[column.End] > last[column.End] - this.recentSeconds;
    while (from > 0 && near(rows[from - 1])) from--;
    return { Columns: this.trend.Columns, Rows: rows.slice(from, to + 1) };
  },

  get behind() { return Math.max(0, this.trend.Rows.length - 1 - find(this.at)); },

  // rest fetches the trend rows that the first state did not have.
  async rest() {
    if (filled || !first) return;
    filled = true;
    const to = first - 1, from = this.state.Oldest;
    if (from > 0 && from <= to) await fetchRows(from, to);
  },
};

// ---------------------------------------------------------------- views

const cache = new Map();  // address → expanded View, or {problem}
const shown = new Map();  // kind → what was returned last
const asked = new Map();  // kind → {url, abort, timer}
const expanded = new WeakMap();

function full(v) {
  if (!expanded.has(v)) expanded.set(v, expand(v, data.config));
  return expanded.get(v);
}

// directly is the view of a live span that the state has.
function directly(kind) {
  if (view.at) return null;
  if (kind === "window") return data.state.Window;
  if (kind === "run") return data.state.Whole;
  if (kind === "recent" && data.recentSeconds === data.config.Recent_Seconds) return data.state.Recent;
  return null;
}

function address(kind) {
  const at = data.at;
  if (kind === "reset") return `/api/sum?from=${data.resetFrom}&to=${at}`;
  return `/api/sum?at=${at}&span=${kind === "recent" ? data.recentSeconds : kind}`;
}

function stop(kind) {
  const a = asked.get(kind);
  if (!a) return;
  clearTimeout(a.timer);
  a.abort.abort();
  asked.delete(kind);
}

function ask(kind, url) {
  if (asked.get(kind)?.url === url) return;
  const scrubbing = asked.has(kind);
  stop(kind);
  const a = { url, abort: new AbortController(), timer: 0 };
  asked.set(kind, a);
  a.timer = setTimeout(async () => {
    let result;
    try {
      const answer = await fetch(url, { signal: a.abort.signal });
      const body = await answer.json();
      result = answer.ok ? full(body) : { problem: body.Error ?? answer.statusText };
    } catch (error) {
      if (error.name === "AbortError") return;
      if (asked.get(kind) === a) asked.delete(kind); // the connection: asked again at the next draw
      return;
    }
    if (cache.size >= CACHE) cache.delete(cache.keys().next().value);
    cache.set(url, result);
    if (result.problem) setTimeout(() => cache.delete(url), REPEAT);
    if (asked.get(kind) === a) asked.delete(kind);
    data.onChange();
  }, scrubbing ? PATIENCE : 0);
}

// ---------------------------------------------------------------- trend rows

let column = {};    // name → place in a row
let filled = false;
let first = 0;      // id of the first row that the first state had

// find is the place of the row with that id, or of the one before it.
function find(id) {
  const rows = data.trend.Rows;
  let lo = 0, hi = rows.length;
  while (lo < hi) {
    const middle = (lo + hi) >> 1;
    if (rows[middle][column.Id] <= id) lo = middle + 1;
    else hi = middle;
  }
  return Math.max(0, lo - 1);
}

// A line without orbits only closes the ledger: it is no window to look at.
const isWindow = row => row[column.Total] > 0 || row[column.End] > row[column.Start];
const nameOf = row => `${row[column.Run]} ${row[column.Epoch]} ${row[column.Number]}`;

function addRows(lists, oldest = 0) {
  const rows = data.trend.Rows;
  const last = rows.length ? rows[rows.length - 1][column.Id] : 0;
  const news = lists.filter(row => row[column.Id] > last);
  if (last && news.length && news[0][column.Id] > last + 1) fetchRows(last + 1, news[0][column.Id] - 1);
  merge(lists.filter(isWindow));
  const gone = data.trend.Rows.findIndex(row => row[column.Id] >= oldest);
  if (gone > 0) data.trend.Rows.splice(0, gone);
}

async function fetchRows(from, to) {
  try {
    const answer = await fetch(`/api/trend?from=${Math.max(from, data.state.Oldest)}&to=${to}`);
    if (!answer.ok) return;
    merge((await answer.json()).Rows.filter(isWindow));
    data.onChange();
  } catch { /* the trend has a gap until the page is loaded again */ }
}

// merge puts rows in their places. A window that comes again, revised, has the id that it had; where it came in several lines, the others have gone.
function merge(news) {
  if (!news.length) return;
  const by = new Map(data.trend.Rows.map(row => [row[column.Id], row]));
  for (const row of news) {
    const had = by.get(row[column.Id]);
    if (!had || had[column.Revision] <= row[column.Revision]) by.set(row[column.Id], row);
  }
  const highest = new Map();
  for (const row of by.values()) if (row[column.Revision] > 0) highest.set(nameOf(row), Math.max(row[column.Revision], highest.get(nameOf(row)) ?? 0));
  const stands = row => !highest.size || row[column.Revision] >= (highest.get(nameOf(row)) ?? 0);
  data.trend.Rows = [...by.values()].filter(stands).sort((a, b) => a[column.Id] - b[column.Id]);
}
