"use strict";
// Sorting: a button in every heading; a third click brings the given order back.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    if (!cell.classList.contains("number")) return cell.textContent.toLowerCase();
    return cell.dataset.order === undefined ? null : Number(cell.dataset.order);
  };
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const way = next[heading.getAttribute("aria-sort")];
      headings.forEach((each) => each.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", way);
      const sign = way === "descending" ? -1 : 1;
      const rows = way === "none" ? given : [...given].sort((one, other) => {
        const [a, b] = [value(one, column), value(other, column)];
        if (a === b) return 0;
        if (a === null) return 1; // what has no number comes last, whichever way
        if (b === null) return -1;
        return a < b ? -sign : sign;
      });
      body.append(...rows);
    });
  });
}
// Filters: a row goes where it says otherwise than what was chosen; what says nothing stays.
const form = document.querySelector(".filters");
if (form) {
  const rows = [...document.querySelectorAll("tbody tr")];
  const filter = () => {
    const chosen = [...form.querySelectorAll("select")].filter((each) => each.value !== "");
    let shown = 0;
    for (const row of rows) {
      row.hidden = chosen.some((each) => (row.dataset[each.name.toLowerCase()] ?? each.value) !== each.value);
      shown += row.hidden ? 0 : 1;
    }
    form.querySelector("output").textContent =
      chosen.length ? `${shown} of ${rows.length} rows` : "";
  };
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter(); // a browser may have kept what was chosen before
}
