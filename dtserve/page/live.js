// The connection to the server: first GET /api/state, then Server-Sent Events.
//
//   connect({onState, onFresh, onLink})
//     onFresh(state)  a whole state with Config and Columns: at the start, and when the server is another one than before
//     onState(state)  each state after that
//     onLink(link)    "open" | "lost" | "stopped" (the server said bye)
//
// The browser's EventSource reconnects by itself as long as it can; where it gives up, or a connection dies without a
// word, we begin anew.

const RETRY = 2000;   // ms, until the next try when the server is not there
const SILENCE = 20;   // s without an event after which the server is asked

export function connect({ onState, onFresh, onLink }) {
  let events = null;
  let started = 0;    // Config.Started of the server we know
  let id = -1;        // of the newest window we know
  let heard = Date.now();
  let patience = SILENCE * 1000;
  let timer = 0;

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(begin, RETRY);
  };

  async function begin() {
    clearTimeout(timer);
    events?.close();
    events = null;
    let state;
    try {
      state = await fetchState();
    } catch {
      onLink("lost");
      later();
      return;
    }
    fresh(state);
    listen();
  }

  function fresh(state) {
    started = state.Config.Started;
    take(state);
    onFresh(state);
    onLink("open");
  }

  function take(state) {
    id = state.Id;
    heard = Date.now();
    patience = Math.max(SILENCE, (state.Stale_After ?? 0) + 5) * 1000;
  }

  function listen() {
    events = new EventSource("/events");
    events.addEventListener("hello", e => {
      heard = Date.now();
      if (JSON.parse(e.data).Started !== started) begin();
      else onLink("open");
    });
    events.addEventListener("state", e => {
      const state = JSON.parse(e.data);
      if (state.Id < id) { // ids began anew: another server
        begin();
        return;
      }
      take(state);
      onLink("open");
      onState(state);
    });
    events.addEventListener("bye", () => {
      events.close();
      onLink("stopped");
      later();
    });
    events.addEventListener("error", () => {
      onLink("lost");
      if (events.readyState === EventSource.CLOSED) later();
    });
  }

  // A connection can die in silence (a laptop that slept, a cut tunnel): ask when nothing has come for long.
  setInterval(async () => {
    if (!events || events.readyState !== EventSource.OPEN || Date.now() - heard < patience) return;
    heard = Date.now();
    try {
      const state = await fetchState(5000);
      if (state.Config.Started !== started || state.Id !== id) begin();
    } catch {
      onLink("lost");
      begin();
    }
  }, 1000);

  begin();
}

async function fetchState(within = 10000) {
  const answer = await fetch("/api/state", { signal: AbortSignal.timeout(within), cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}
