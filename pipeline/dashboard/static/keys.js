// Keys: `/` finds, `j` and `k` go through the rows of a list, `?` tells of them.
const rows = "main table.cards tbody a[href]:first-of-type, main tbody th[scope=row] a[href], main ol.events summary";

/** Where a key is text, or belongs to something else. */
function isTaken(event) {
  const target = event.target;
  return event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")
    || target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}

/** The first thing to open in each row, of those that are seen. */
function places() {
  const of = new Map();
  for (const each of document.querySelectorAll(rows)) {
    const row = each.closest("tr, li");
    if (row && !of.has(row) && each.checkVisibility()) of.set(row, each);
  }
  return [...of.values()];
}

function go(by) {
  const all = places();
  if (!all.length) return;
  const here = document.activeElement?.closest("tr, li");
  const at = here ? all.findIndex((each) => here.contains(each)) : -1;
  const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1);
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

const does = {
  "/": () => document.querySelector(".box input")?.focus(),
  "?": () => document.getElementById("keys").showModal(),
  j: () => go(1),
  k: () => go(-1),
};

document.addEventListener("keydown", (event) => {
  const done = does[event.key];
  if (!done || isTaken(event)) return;
  event.preventDefault();
  done();
});
