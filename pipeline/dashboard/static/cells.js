// Numbers in the tables of charts lead to the sessions that they count. Written when a table is opened: there are thousands.
const SIZES_MS = { hour: 36e5, day: 864e5, week: 7 * 864e5 };

function link(cell, heading, atMs, place) {
  const value = cell.dataset.value;
  if (value === "") return;
  const isShare = cell.closest("[data-chart]").dataset.chart === "share";
  const filter = isShare && Number(value) < 1 ? heading.dataset.failed : heading.dataset.whole;
  if (!filter) return;
  const from = Math.max(atMs, Number(place.from)), to = Math.min(atMs + SIZES_MS[place.bucket], Number(place.to));
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
    const atMs = Number(row.querySelector("[data-at]").dataset.at);
    row.querySelectorAll("[data-value]").forEach((cell, index) => link(cell, headings[index], atMs, place));
  }
}

for (const details of document.querySelectorAll(".charts details")) {
  details.addEventListener("toggle", () => fill(details.querySelector("table"), details.closest(".charts").dataset), { once: true });
}
