// The time zone of the page: it stands in the address, so that a link that is passed on means the same days.
const root = document.documentElement;

/** The IANA name of the zone that the page is in. */
export const zone = root.dataset.tz || "UTC";

/** A time (Unix ms) as clocks of the zone show it, in the form of ISO 8601: `2026-03-29T10:00:00.000`. */
export function local(ms) {
  const parts = Object.fromEntries(parted.formatToParts(new Date(ms)).map((part) => [part.type, part.value]));
  return `${parts.year.padStart(4, "0")}-${parts.month}-${parts.day}T${parts.hour}:${parts.minute}:${parts.second}.${parts.fractionalSecond}`;
}

const parted = new Intl.DateTimeFormat("en-GB", {
  timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit",
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});

function named(address) {
  const url = new URL(address, location.href);
  if (url.origin !== location.origin || url.pathname.startsWith("/zone") || url.searchParams.has("tz")) return null;
  url.searchParams.set("tz", zone);
  return url;
}

// Somebody chose it: a link says so, and pages that are gone to from here keep it.
if (root.dataset.tzBy) {
  const own = named(location.href);
  if (own && location.pathname !== "/login") history.replaceState(history.state, "", own);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    const wanted = link && !link.getAttribute("href").startsWith("#") && named(link.href);
    if (wanted) link.href = wanted.href;
  }, { capture: true });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "get" || form.elements.tz) return;
    const field = Object.assign(document.createElement("input"), { type: "hidden", name: "tz", value: zone });
    form.append(field);
  }, { capture: true });
}

const mine = document.getElementById("mine");
const choice = document.querySelector("[data-zones]");
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (mine && [...choice.options].some((option) => option.value === here)) {
  mine.hidden = false;
  mine.textContent = `Use this browser's zone (${here})`;
  mine.addEventListener("click", () => {
    choice.value = here;
    choice.form.requestSubmit();
  });
}
