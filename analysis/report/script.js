"use strict";
// Tables sort by a click on a column's head; numbers by value, words by letters.
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `sort by ${head.textContent}`);
    head.append(button); // beside the words, which browsers print again on every page, and a button not
    head.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.tHead.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        return cell.dataset.value ?? cell.textContent;
      };
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        const order = x !== "" && y !== "" && !isNaN(x) && !isNaN(y) ? x - y : String(x).localeCompare(y);
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
// A box above a table keeps the rows that have all its words.
for (const box of document.querySelectorAll("input[data-filter]")) {
  const table = document.getElementById(box.dataset.filter);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}
// The contents say which section is being read.
const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
const headings = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
const mark = () => {
  const read = headings.findLast((heading) => heading.getBoundingClientRect().top < innerHeight / 3) ?? headings[0];
  for (const [id, link] of links) {
    if (id === read?.id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
};
addEventListener("scroll", mark, { passive: true });
mark();
// A number leads to its source, which is shown then.
const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", open);
open();
// On paper, nothing can be unfolded or pointed at: tables and the meanings of words are, but for the sources.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open ||= folded.querySelector("table, dl") !== null;
});
// A slider over limits shows the rows of a table that answer at the chosen one.
for (const slider of document.querySelectorAll("input[data-limits]")) {
  const table = document.getElementById(slider.dataset.limits);
  const shown = document.getElementById(slider.dataset.shows);
  const limits = [...new Set([...table.tBodies[0].rows].map((row) => row.dataset.limit))];
  const show = () => {
    const limit = limits[slider.value];
    shown.textContent = limit;
    slider.setAttribute("aria-valuetext", limit);
    for (const row of table.tBodies[0].rows) row.hidden = row.dataset.limit !== limit;
  };
  slider.max = limits.length - 1;
  slider.addEventListener("input", show);
  show();
}
