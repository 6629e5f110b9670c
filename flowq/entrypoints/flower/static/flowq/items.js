// Names the item under the pointer in the grid of a map, and opens it by a click.
(() => {
  "use strict";
  const COLUMNS = 100;
  function itemAt(event) {
    const cell = event.target.closest?.(".flowq-cells path[data-status]");
    if (!cell) return null;
    const grid = cell.ownerSVGElement, box = grid.getBoundingClientRect();
    const view = grid.viewBox.baseVal;
    const [x, y] = [(event.clientX - box.left) / box.width * view.width, (event.clientY - box.top) / box.height * view.height];
    return { cell, index: Number(grid.dataset.first) + Math.floor(y) * COLUMNS + Math.floor(x) };
  }
  document.addEventListener("pointermove", (event) => {
    const found = itemAt(event);
    if (!found) return;
    const words = `${found.index}: ${found.cell.dataset.status}`;
    const title = found.cell.querySelector("title");
    if (title.textContent !== words) title.textContent = words;
  });
  document.addEventListener("click", (event) => {
    const found = itemAt(event), at = document.querySelector("[data-item-page]");
    if (found && at) location.href = at.dataset.itemPage.replace("%5B0%5D", `%5B${found.index}%5D`);
  });
})();
