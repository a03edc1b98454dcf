// Tables of more rows than this have a box that keeps the rows that hold its words.
const LONG_TABLE = 12;
for (const table of document.querySelectorAll("table.sortable")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= LONG_TABLE) continue;
  const box = document.createElement("input");
  box.type = "search";
  box.className = "filter";
  box.placeholder = `filter ${rows.length} rows`;
  box.setAttribute("aria-label", `filter the rows of: ${table.caption.textContent}`);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/);
    const text = (row) => `${row.cells[0].title} ${row.textContent}`.toLowerCase();
    for (const row of rows) row.hidden = !words.every((word) => text(row).includes(word));
  });
  table.parentElement.before(box);
}
// A click on a column's name sorts its table: by number where all but empty cells begin with one, else as text.
for (const table of document.querySelectorAll("table.sortable")) {
  const number = (text) => (/^[<+−-]?\s*[\d.]/.test(text) ? parseFloat(text.replace("−", "-").replace(/^<\s*/, "")) : NaN);
  const empty = (text) => ["", "-", "undefined", "failed"].includes(text);
  table.querySelectorAll("thead th").forEach((th, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...th.childNodes);
    th.append(button);
    th.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const rising = th.getAttribute("aria-sort") === "descending" || (th.getAttribute("aria-sort") === "none" && column === 0);
      table.querySelectorAll("thead th").forEach((other) => other.setAttribute("aria-sort", "none"));
      th.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = table.tBodies[0];
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...body.rows];
      const numeric = rows.every((row) => empty(text(row)) || !isNaN(number(text(row))));
      const order = (a, b) => (numeric ? number(a) - number(b) : a.localeCompare(b)) * (rising ? 1 : -1);
      rows.sort((a, b) => empty(text(a)) - empty(text(b)) || order(text(a), text(b)));
      body.append(...rows);
    });
  });
}
