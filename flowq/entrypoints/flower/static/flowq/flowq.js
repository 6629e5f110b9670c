// Keeps pages of the Flows tab up to date; they are whole without it. `flowq docs flower` has the markup.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const named = (attribute, value) => `[${attribute}="${CSS.escape(value)}"]`;
  const set = (place, text) => { if (place.textContent.trim() !== text) place.textContent = text; };
  const ENDED = ["completed", "failed", "cancelled", "skipped"];
  const SIGNS = {
    pending: "·", queued: "○", running: "●", retrying: "↻", waiting: "◌", completed: "✓",
    failed: "✗", skipped: "-", cancelled: "⊘", paused: "‖", cancelling: "⊘",
  };

  // As flowq.entrypoints.formatting writes them.
  const count = (number) => number.toLocaleString("en-US");
  const money = (cost) => !cost ? "$0" : cost < 0.0001 ? "<$0.0001" : "$" + (cost < 1 ? cost.toFixed(4)
    : cost.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
  const cost = (line) => !line.unpriced ? money(line.cost)
    : line.cost ? `${money(line.cost)} + ${count(line.unpriced)} unknown` : "unknown";
  const two = (number) => String(number).padStart(2, "0");
  function duration(ms) {
    if (ms < 1000) return Math.round(ms) + " ms";
    if (ms < 60000) return (ms / 1000).toFixed(1) + " s";
    const seconds = Math.round(ms / 1000), minutes = Math.floor(seconds / 60);
    return minutes < 60 ? `${minutes} min ${two(seconds % 60)} s`
      : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  }

  // Shows a run or a step as it stands; tells whether that is news.
  function update(place, line) {
    const cells = (name) => all(named("data-cell", name), place);
    const write = (name, text) => cells(name).forEach((cell) => {
      set(cell, text);
      cell.closest("[hidden]")?.removeAttribute("hidden");
    });
    const before = place.dataset.status;
    // A fetched page may be newer than the last message: an end stays. And only its row says that a
    // step waits, for example for a signal.
    const status = ENDED.includes(before) || (before === "waiting" && line.status === "running") ? before
      : line.status ?? before;
    if (before !== status) {
      place.dataset.status = status;
      for (const cell of cells("status")) {
        cell.dataset.status = status;
        all("[data-sign]", cell).forEach((sign) => set(sign, SIGNS[status]));
        set(cell.querySelector("[data-name]") || cell, status);
      }
    }
    const total = line.total ?? line.items;
    if (line.done !== undefined && total !== undefined) {
      write("done", `${count(line.done)} of ${count(total)}`);
      for (const bar of all("[data-progress]", place)) {
        const percent = total ? Math.round(1000 * line.done / total) / 10 : 0;
        bar.dataset.progress = percent;
        bar.setAttribute("aria-valuenow", percent);
        (bar.querySelector(".progress-bar") || bar).style.width = percent + "%";
      }
    }
    if (line.tokens) write("tokens", count(line.tokens));
    if (line.cost || line.unpriced) write("cost", cost(line));
    if (line.attempt) write("attempt", String(line.attempt));
    if (ENDED.includes(status)) {
      // Also where the text is the same: the <time> in it would count on. How long a step took is
      // in its row only.
      for (const cell of cells("duration")) {
        cell.replaceChildren(line.ms === undefined ? cell.textContent.trim() : duration(line.ms));
      }
    } else if (line.since && status === "running") {
      for (const cell of cells("duration")) {
        const time = cell.querySelector("time") || document.createElement("time");
        time.dataset.since = line.since;
        if (!time.parentNode) cell.replaceChildren(time);
      }
    }
    return before !== status || Boolean(line.items && place.dataset.items !== String(line.items));
  }

  // Fetches the page anew, at most once a second, less often when that takes long; only what differs
  // is changed.
  let wanted = false, busy = false;
  async function refresh() {
    wanted = true;
    if (busy || document.hidden) return;
    busy = true;
    while (wanted && !document.hidden) {
      const began = performance.now();
      wanted = false;
      try {
        const answer = await fetch(location.href);
        if (answer.ok) morph(await answer.text());
        wanted = wanted || answer.status >= 500;  // changes that were sent are not sent again
      } catch { wanted = true; }
      const took = performance.now() - began, least = wanted ? 5000 : 1000;
      await new Promise((done) => setTimeout(done, Math.max(least - took, 4 * took)));
    }
    busy = false;
  }
  // A page that nobody sees is fetched when it is looked at again.
  document.addEventListener("visibilitychange", () => { if (!document.hidden && wanted) refresh(); });
  // What a person has typed, ticked and opened stays.
  const KEPT = "input, select, textarea, [data-live-keep]";
  const isKept = (node) => node.nodeType === Node.ELEMENT_NODE && node.matches(KEPT);
  const callbacks = {
    beforeNodeMorphed: (old, fresh) => !isKept(old) && !old.isEqualNode(fresh),
    beforeNodeRemoved: (old) => !(isKept(old) && old.hasAttribute("data-live-keep")),
    beforeAttributeUpdated: (name, old) => !(name === "open" && old.matches("details"))
      && !(["style", "data-zoomed"].includes(name) && old.matches("[data-zoomed]")),
  };
  // The last lines of a log stay in view, unless somebody reads above them.
  const isAtEnd = (tail) => tail.scrollHeight - tail.scrollTop - tail.clientHeight < 40;
  const toEnd = (tails) => tails.forEach((tail) => { tail.scrollTop = tail.scrollHeight; });
  const tails = () => all("[data-tail]");
  function morph(html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const [place, fresh] = [document, page].map((one) => one.querySelector("[data-live-page]"));
    if (!fresh) return;
    const following = tails().filter(isAtEnd), before = tails().length;
    document.title = page.title;
    Idiomorph.morph(place, fresh.innerHTML, { morphStyle: "innerHTML", callbacks });
    toEnd(before ? following : tails());
    document.dispatchEvent(new Event("flowq:morphed"));
    again();
    tick();
    check();
  }

  // The last changes: they may be newer than a part that was asked for before, so it is shown again.
  const known = new Map();
  const again = () => known.forEach((line, key) => all(key).forEach((one) => update(one, line)));
  function show(key, line) {
    const isNew = !known.has(key), found = all(key);
    known.set(key, line);
    return { missing: isNew && !found.length, news: found.map((one) => update(one, line)) };
  }
  const row = (id) => "tr" + named("data-run-id", id);
  function runs(lines) {
    for (const line of lines) {
      // Its error, and its square among the latest runs, are only in the page.
      if (show(row(line.id), line).news.includes(true)) refresh();
    }
  }
  // The rows that a reload would show, in their order. A page that was read before they were sent
  // is fetched once more; one that is newer than the sent rows is left alone then.
  let listed = null, checked = true;
  function list(ids) {
    const keys = new Set(ids.map(row));
    for (const key of known.keys()) if (key.startsWith("tr[") && !keys.has(key)) known.delete(key);
    [listed, checked] = [ids.join(), false];
    if (!isListed()) refresh();
  }
  const isListed = () => listed === all("tr[data-run-id]").map((one) => one.dataset.runId).join();
  function check() {
    if (listed !== null && !checked && !isListed()) refresh();
    checked = true;
  }
  function steps(lines, first) {
    let changed = !first && lines.length > 0;
    for (const line of lines) {
      const { missing, news } = show(named("data-step", line.key), line);
      if (missing) refresh();
      changed = changed || news.includes(true);
    }
    if (changed && document.querySelector("[data-live-on=steps]")) refresh();
  }
  // A page has the text up to some character; what comes before that is known, after a gap it is
  // fetched anew. Offsets count characters, as Python does.
  function text(line) {
    const label = line.index === null ? line.key : `${line.key}[${line.index}]`;
    for (const place of all(named("data-text", label))) {
      const isNew = place.dataset.attempt !== String(line.attempt);
      const stream = place.querySelector(named("data-stream", line.stream));
      if (isNew || !stream || [...stream.textContent].length < line.offset) refresh();
      else if ([...stream.textContent].length === line.offset) stream.append(line.text);
    }
  }

  // What a message says; `first` is the first one, which has everything.
  function take(news, first) {
    runs(news.runs || []);
    for (const { ids } of news.list || []) list(ids);
    steps(news.steps || [], first);
    (news.text || []).forEach(text);
    for (const { since } of news.stale || []) stale = since;
    if (news.reload) refresh();
    for (const line of news.run || []) {
      const { news: changed } = show("[data-run-status]", line);
      if (line.status) {
        for (const one of all("[data-run-status]")) {
          document.title = document.title.replace(` ${one.dataset.runStatus} `, ` ${line.status} `);
          one.dataset.runStatus = line.status;
        }
      }
      if (changed.includes(true)) refresh();
    }
    return (news.run || []).some((line) => line.ended);
  }

  // Since when the database has not answered; what the page shows may be old then.
  let stale;
  function listen(live) {
    const note = document.createElement("p");
    note.className = "flowq-offline";
    note.dataset.liveKeep = "";
    note.setAttribute("role", "status");
    note.setAttribute("aria-live", "polite");
    document.querySelector("main").prepend(note);
    let first = true, late;
    const say = (words) => {
      late = clearTimeout(late);
      set(note, words || (stale ? `The database has not answered since ${stale.slice(11, 19)} UTC: what is shown may be old.` : ""));
    };
    window.flowqFollow(live.dataset, {
      open: () => say(""),  // only the first message of a page has what the page shows already
      lost: () => { late ??= setTimeout(() => set(note, "Offline, reconnecting …"), 1500); },
      closed: () => say("Not live: reload the page."),
      news: (news) => {
        const hasEnded = take(news, first);
        first = false;
        say("");
        return hasEnded;
      },
    });
    addEventListener("pageshow", (shown) => { if (shown.persisted) location.reload(); });
  }

  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.documentElement.classList.add("flowq-script");
  if (still) document.documentElement.classList.add("flowq-still");
  const passed = (time) => Math.max(0, Date.now() - Date.parse(time));
  function ago(ms) {
    const [length, name] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]
      .find(([length]) => ms / 1000 >= length) || [1, "s"];
    return `${Math.floor(ms / 1000 / length)} ${name} ago`;
  }
  function tick() {
    if (!stale) all("time[data-since]").forEach((time) => set(time, duration(passed(time.dataset.since))));
    all("time[data-ago]").forEach((time) => set(time, ago(passed(time.dateTime))));
  }
  toEnd(tails());
  tick();
  setInterval(tick, still ? 5000 : 1000);
  // No event announces logged lines.
  setInterval(() => { if (!document.hidden && document.querySelector("[data-live-every]")) refresh(); }, 2000);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      set(button, "Copied");
    } catch {  // only pages of HTTPS may write to the clipboard
      const text = document.getElementById(button.getAttribute("aria-describedby"));
      getSelection().selectAllChildren(text);
      set(button, "Press Ctrl+C");
    }
  });
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  // On a narrow screen the open tab may lie beyond the edge.
  const tab = document.querySelector(".flowq-run-tabs [aria-current]");
  if (tab) tab.closest(".flowq-run-tabs").scrollLeft = tab.offsetLeft - 8;
  const live = document.querySelector("[data-live]");
  if (live) listen(live);
})();
