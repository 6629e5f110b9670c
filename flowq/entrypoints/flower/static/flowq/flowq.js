// Live pages of the Flows tab. Pages are whole without this file; it keeps them up to date.
//
// Markup -> what is done with it:
//   [data-live=URL]                     the stream to listen to (docs/flower.md)
//   tr[data-run-id], [data-run-status]  a run: its row, or the header of its page
//   [data-step=KEY]                     a step: a row, or a node of a picture; data-status is set
//   [data-cell=status|done|duration|tokens|cost|attempt|worker]   text within one of these
//   [data-progress]                     a bar: its width, aria-valuenow
//   [data-live-part=NAME]               fetched anew when the structure changes, at most once a
//                                       second; with data-live-on="steps" when any step does
//   <time data-since=ISO>               counts up while the page is open
//   form[data-confirm=TEXT]             asks first
(() => {
  "use strict";
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const ENDED = ["completed", "failed", "cancelled", "skipped"];
  const SIGNS = {
    pending: "·", queued: "○", running: "●", retrying: "↻", waiting: "◌", completed: "✓",
    failed: "✗", skipped: "-", cancelled: "⊘", paused: "‖", cancelling: "⊘",
  };

  // As flowq.entrypoints.shown writes them.
  const count = (number) => number.toLocaleString("en-US");
  const money = (cost) => !cost ? "$0" : cost < 0.0001 ? "<$0.0001" : cost >= 1
    ? "$" + cost.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })
    : "$" + cost.toFixed(4);
  const duration = (ms) => {
    if (ms < 1000) return Math.round(ms) + " ms";
    if (ms < 60000) return (ms / 1000).toFixed(1) + " s";
    const minutes = Math.floor(Math.round(ms / 1000) / 60);
    const two = (number) => String(number).padStart(2, "0");
    return minutes < 60 ? `${minutes} min ${two(Math.round(ms / 1000) % 60)} s`
      : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  };

  const set = (element, text) => {
    if (element.textContent.trim() !== text) element.textContent = text;
  };

  // --- one thing that has changed; tells whether its state has -----------------------------------
  function update(element, line) {
    const cells = (name) => $(`[data-cell="${name}"]`, element);
    const before = element.dataset.status;
    // What a step waits for is known to the page only; its worker's start is no news to it.
    const status = before === "waiting" && line.status === "running" ? before : line.status;
    if (status && before !== status) {
      element.dataset.status = status;
      for (const cell of cells("status")) {
        cell.dataset.status = status;
        const sign = cell.querySelector("[data-sign]");
        if (sign) set(sign, SIGNS[status] || "");
        set(cell.querySelector("[data-name]") || cell, status);
      }
    }
    const total = line.total ?? line.items;
    if (line.done !== undefined && total !== undefined) {
      for (const cell of cells("done")) set(cell, `${count(line.done)} of ${count(total)}`);
      for (const bar of $("[data-progress]", element)) {
        const percent = total ? Math.round(1000 * line.done / total) / 10 : 0;
        bar.dataset.progress = percent;
        bar.setAttribute("aria-valuenow", percent);
        (bar.querySelector(".progress-bar") || bar).style.width = percent + "%";
      }
    }
    if (line.tokens) for (const cell of cells("tokens")) set(cell, count(line.tokens));
    if (line.cost) for (const cell of cells("cost")) set(cell, money(line.cost));
    if (line.attempt) for (const cell of cells("attempt")) set(cell, String(line.attempt));
    for (const cell of cells("duration")) {
      if (line.ms !== undefined && (ENDED.includes(status) || line.ended)) {
        set(cell, duration(line.ms));
      } else if (line.since && status === "running" && !cell.querySelector("time")) {
        const time = document.createElement("time");
        time.dataset.since = line.since;
        cell.replaceChildren(time);
      }
    }
    return before !== status || (line.items && element.dataset.items !== String(line.items));
  }

  // --- parts of the page, fetched anew -----------------------------------------------------------
  let wanted = false, fetching = false, every = false;
  async function refresh(all) {
    wanted = true;
    every = every || all;
    if (fetching) return;
    fetching = true;
    while (wanted) {
      const steps = every ? "" : '[data-live-on="steps"]';
      wanted = every = false;
      const began = performance.now();
      try {
        if ($("[data-live-part]" + steps).length) {
          const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
          if (answer.ok) replace(await answer.text(), steps);
        }
      } catch { /* offline: the stream says so, and what it tells when it is back is everything */ }
      const took = performance.now() - began;
      await new Promise((done) => setTimeout(done, Math.max(1000 - took, 4 * took)));
    }
    fetching = false;
  }
  function replace(html, which) {
    const page = new DOMParser().parseFromString(html, "text/html");
    for (const part of $("[data-live-part]" + which)) {
      const name = CSS.escape(part.dataset.livePart);
      const fresh = page.querySelector(`[data-live-part="${name}"]`);
      if (!fresh || part.contains(document.activeElement) || fresh.innerHTML === part.innerHTML) {
        continue; // nobody loses what they type, or where they are
      }
      const open = $("details[open][id]", part).map((details) => details.id);
      const left = part.scrollLeft;
      part.replaceChildren(...fresh.childNodes);
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      part.scrollLeft = left;
    }
    tick();
  }

  // --- the stream --------------------------------------------------------------------------------
  const known = new Set();
  function runs(lines) {
    const newest = $("tr[data-run-id]").map((row) => row.dataset.runId).sort().pop() || "";
    for (const line of lines) {
      const row = document.querySelector(`tr[data-run-id="${CSS.escape(line.id)}"]`);
      if (row) update(row, line);
      else if (!known.has(line.id) && line.id > newest) refresh(true);
      known.add(line.id);
    }
  }
  function steps(lines) {
    let changed = false, missing = false;
    for (const line of lines) {
      const found = $(`[data-step="${CSS.escape(line.key)}"]`);
      for (const element of found) changed = update(element, line) || changed;
      missing = missing || (!found.length && !known.has(line.key));
      known.add(line.key);
    }
    if (missing || changed) refresh(missing);
  }
  function texts(lines) {
    for (const line of lines) {
      for (const place of $(`[data-text="${CSS.escape(line.key)}"]`)) {
        if (!line.offset) place.textContent = "";
        place.append(line.text);
      }
    }
  }
  function listen(url) {
    const note = document.createElement("p");
    note.className = "flowq-offline";
    note.setAttribute("role", "status");
    note.setAttribute("aria-live", "polite");
    document.querySelector("main").prepend(note);
    const source = new EventSource(url);
    let late;
    const online = () => { clearTimeout(late); late = undefined; set(note, ""); };
    source.onopen = online;
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) {
        set(note, "Not live any more: reload the page.");
      } else {
        late ??= setTimeout(() => set(note, "Offline, reconnecting …"), 1500);
      }
    };
    source.onmessage = (message) => {
      online();
      const news = JSON.parse(message.data);
      if (news.runs) runs(news.runs);
      if (news.steps) steps(news.steps);
      if (news.text) texts(news.text);
      if (news.reload) refresh(true);
      for (const line of news.run || []) {
        const changed = $("[data-run-status]").map((element) => update(element, line));
        if (line.ended) source.close();
        if (changed.includes(true)) refresh(true);
      }
    };
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (shown) => { if (shown.persisted) location.reload(); });
  }

  // --- clocks and questions ----------------------------------------------------------------------
  function tick() {
    for (const time of $("time[data-since]")) {
      set(time, duration(Math.max(0, Date.now() - Date.parse(time.dataset.since))));
    }
  }
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (still) document.documentElement.classList.add("flowq-still");
  setInterval(tick, still ? 5000 : 1000);
  tick();
  const live = document.querySelector("[data-live]");
  if (live && window.EventSource) listen(live.dataset.live);
})();
