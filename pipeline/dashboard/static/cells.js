// Numbers in the tables of charts lead to the sessions that they count. Written when a table is opened: there are thousands.
function link(cell, heading, atMs, toMs, place) {
  const value = cell.dataset.value;
  if (value === "") return;
  const isShare = cell.closest("[data-chart]").dataset.chart === "share";
  const filter = isShare && Number(value) < 1 ? heading.dataset.failed : heading.dataset.whole;
  if (!filter) return;
  const from = Math.max(atMs, Number(place.from)), to = Math.min(toMs, Number(place.to));
  const address = new URLSearchParams({ app: place.app, from: iso(from), to: iso(to), filter });
  const made = document.createElement("a");
  made.href = `/sessions?${address}`;
  made.append(...cell.childNodes);
  cell.append(made);
}

function iso(ms) {
  return new Date(ms).toISOString();
}

function fill(table, place) {
  const headings = [...table.querySelectorAll("thead [data-whole]")];
  for (const row of table.querySelectorAll("tbody tr")) {
    const { at, to } = row.querySelector("[data-at]").dataset;
    row.querySelectorAll("[data-value]").forEach((cell, index) => link(cell, headings[index], Number(at), Number(to), place));
  }
}

for (const details of document.querySelectorAll(".charts details")) {
  details.addEventListener("toggle", () => fill(details.querySelector("table"), details.closest(".charts").dataset), { once: true });
}
