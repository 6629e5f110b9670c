// The one connection of a browser for all its open pages of the Flows tab; a shared worker.
"use strict";
const ports = new Map();  // from a port to what it follows, and when it was last heard
const seen = new Map();  // from a page to the id of its last change
const BEAT = 20000, LOST = 70000, SOON = 50, AGAIN = 5000;
let source, many, timer, opened = "";

const tell = (what, page) => ports.forEach((one, port) => {
  if (page === undefined || one.page === page) port.postMessage(what);
});

function later(ms) {
  clearTimeout(timer);
  timer = setTimeout(open, ms);
}
function open() {
  const pages = [...new Set([...ports.values()].map((one) => one.page))].filter(Boolean).sort();
  const wanted = pages.join("\n");
  const isWhole = pages.every((page) => seen.has(page));
  if (wanted === opened && isWhole && source && source.readyState !== EventSource.CLOSED) return;
  source?.close();
  [source, opened] = [undefined, wanted];
  if (!pages.length) return;
  const query = pages.flatMap((page) => [["page", page], ["seen", seen.get(page) ?? ""]]);
  source = new EventSource(`${many}?${new URLSearchParams(query)}`);
  source.onopen = () => pages.forEach((page) => tell({ state: "open" }, page));
  source.onerror = () => {
    const isClosed = source.readyState === EventSource.CLOSED;
    tell({ state: isClosed ? "closed" : "lost" });
    if (isClosed) later(AGAIN);  // for example when Flower asks for a login
  };
  source.onmessage = ({ data }) => {
    const { page, id, news, over, refused } = JSON.parse(data);
    if (id) seen.set(page, id);
    if (news) tell({ news }, page);
    if (refused) tell({ state: "closed" }, page);
    if (over || refused) {
      ports.forEach((one) => { if (one.page === page) one.page = ""; });
      later(SOON);
    }
  };
}

onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data.leave) ports.delete(port);
    if (data.pong && ports.has(port)) ports.get(port).heard = Date.now();
    if (data.join) {
      many = data.many;
      ports.set(port, { page: data.join, heard: Date.now() });
      seen.delete(data.join);  // a new page needs everything
    }
    if (data.join || data.leave) later(SOON);
  };
};
// A tab that crashed does not say that it leaves.
setInterval(() => {
  for (const [port, one] of ports) if (Date.now() - one.heard > LOST) ports.delete(port);
  tell({ ping: true });
  later(SOON);
}, BEAT);
