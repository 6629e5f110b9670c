// Moves and zooms a graph, finds what failed in it, and shows what is before and after a step.
// Without this script a graph has its natural size and scroll bars.
(() => {
  "use strict";
  const view = document.querySelector("[data-zoom]");
  if (!view) return;
  const LEAST = 0.1, MOST = 2, READABLE = 0.5;
  const picture = () => view.querySelector("svg.fq-graph");
  const [width, height] = ["width", "height"].map((name) => () => Number(picture()?.getAttribute(name)));
  let scale = 1;

  // The point under the pointer, or the middle, stays where it is.
  function zoom(wanted, [x, y] = [view.clientWidth / 2, view.clientHeight / 2]) {
    const before = scale;
    scale = Math.min(MOST, Math.max(LEAST, wanted));
    const [left, top] = [view.scrollLeft + x, view.scrollTop + y].map((at) => at * scale / before);
    apply();
    view.scrollTo(left - x, top - y);
  }
  function apply() {
    const svg = picture();
    if (!svg) return;
    svg.dataset.zoomed = scale;
    svg.style.width = `${Math.round(width() * scale)}px`;
  }
  const room = () => parseFloat(getComputedStyle(view).maxHeight) || innerHeight;
  const fitting = () => Math.min(1, view.clientWidth / (width() + 24), room() / (height() + 24));

  const failed = () => [...view.querySelectorAll(".fq-node.fq-failed")];
  let shown = -1;
  function center(node) {
    const [to, of] = [node.getBoundingClientRect(), view.getBoundingClientRect()];
    view.scrollBy(to.left + to.width / 2 - of.left - of.width / 2, to.top + to.height / 2 - of.top - of.height / 2);
  }
  function nextFailed() {
    const nodes = failed();
    if (!nodes.length) return;
    shown = (shown + 1) % nodes.length;
    if (scale < READABLE) zoom(READABLE * 1.5);
    center(nodes[shown]);
    nodes[shown].closest("a")?.focus({ preventScroll: true });
  }

  const actions = {
    in: () => zoom(scale * 1.25), out: () => zoom(scale / 1.25), fit: () => zoom(fitting()),
    whole: () => zoom(1), failed: nextFailed,
  };
  document.addEventListener("click", (event) => {
    actions[event.target.closest("[data-zooms]")?.dataset.zooms]?.();
  });
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;  // without it the wheel scrolls, as elsewhere
    event.preventDefault();
    const box = view.getBoundingClientRect();
    zoom(scale * Math.exp(-event.deltaY / 300), [event.clientX - box.left, event.clientY - box.top]);
  }, { passive: false });
  view.addEventListener("keydown", (event) => {
    const action = { "+": "in", "=": "in", "-": "out", 0: "fit", n: "failed" }[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[action]();
  });

  // A drag moves the picture; a click on a step is still a click.
  let drag = null;
  view.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType !== "mouse") return;
    drag = { x: event.clientX, y: event.clientY, left: view.scrollLeft, top: view.scrollTop, moved: false };
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.moved ||= Math.abs(x) + Math.abs(y) > 4;
    if (drag.moved) view.scrollTo(drag.left - x, drag.top - y);
  });
  addEventListener("pointerup", () => {
    const swallow = (event) => event.preventDefault();
    if (drag?.moved) view.addEventListener("click", swallow, { once: true, capture: true });
    setTimeout(() => { drag = null; view.removeEventListener("click", swallow, true); });
  });
  view.addEventListener("dragstart", (event) => event.preventDefault());

  // Of the step under the pointer, or with the focus: all that is before and after it.
  function reach(from, ends, side) {
    const found = new Set([from]), open = [from];
    while (open.length) {
      const at = open.pop();
      for (const one of ends) {
        if (one[side] === at && !found.has(one[1 - side])) {
          found.add(one[1 - side]);
          open.push(one[1 - side]);
        }
      }
    }
    return found;
  }
  function light(node) {
    const svg = picture();
    if (!svg) return;
    for (const one of svg.querySelectorAll(".fq-lit")) one.classList.remove("fq-lit");
    const edges = [...svg.querySelectorAll("[data-ends]")];
    svg.classList.toggle("fq-dims", Boolean(node) && edges.length > 0);
    if (!node || !edges.length) return;
    const ends = edges.map((edge) => edge.dataset.ends.split(" "));
    const [down, up] = [0, 1].map((side) => reach(node.dataset.vertex, ends, side));
    for (const one of svg.querySelectorAll("[data-vertex]")) {
      if (down.has(one.dataset.vertex) || up.has(one.dataset.vertex)) one.classList.add("fq-lit");
    }
    edges.forEach((edge, at) => {
      const [before, after] = ends[at];
      if ((down.has(before) && down.has(after)) || (up.has(before) && up.has(after))) edge.classList.add("fq-lit");
    });
  }
  const nodeOf = (target) => target.closest?.("[data-vertex]") ?? target.querySelector?.("[data-vertex]");
  view.addEventListener("pointerover", (event) => light(event.target.closest("[data-vertex]")));
  view.addEventListener("pointerleave", () => light(null));
  view.addEventListener("focusin", (event) => {
    if (event.target !== view && event.target.matches(":focus-visible")) light(nodeOf(event.target));
  });
  view.addEventListener("focusout", () => light(null));

  // The page was fetched anew: the picture may have grown.
  document.addEventListener("flowq:morphed", apply);

  const first = Math.max(fitting(), READABLE);
  if (first < 1) zoom(first);
  const node = failed()[0] ?? view.querySelector(".fq-node.fq-running");
  if (node && fitting() < 1) center(node);
})();
