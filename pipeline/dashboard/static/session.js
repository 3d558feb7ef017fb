// The session page: its timeline, kinds of events on and off, opening what an address points at.
import { Lanes } from "./lanes.js";
import { local } from "./zone.js";

const chart = document.querySelector("[data-marks]");
const boxes = [...document.querySelectorAll("input[data-lane]")];
const rows = [...document.querySelectorAll(".events > li")];
// What the server left out of the list of kinds that are shown.
const folded = boxes.filter((box) => !box.defaultChecked).map((box) => box.dataset.lane);
let lanes = null;

const took = (ms) => (ms < 1e3 ? `${Math.round(ms)} ms` : `${(ms / 1e3).toFixed(1)} s`);
const at = (position) => document.getElementById(`e${position}`);

function open(position, perPage) {
  const row = at(position);
  if (!row) {
    const address = new URL(location.href);
    address.searchParams.set("page", Math.floor(position / perPage) + 1);
    address.hash = `e${position}`;
    location.href = address;
    return;
  }
  row.hidden = false;
  row.querySelector("details").open = true;
  history.replaceState(null, "", `#e${position}`);
  row.scrollIntoView({ block: "center" });
  row.querySelector("summary").focus({ preventScroll: true });
}

function showKinds() {
  const off = boxes.filter((box) => !box.checked).map((box) => box.dataset.lane);
  for (const row of rows) row.hidden = off.includes(row.dataset.lane);
  lanes?.hide(off);
  const address = new URL(location.href);
  if (off.join() === folded.join()) address.searchParams.delete("hide");
  else address.searchParams.set("hide", off.join(" "));
  if (address.href !== location.href) history.replaceState(null, "", address);
}

function openTarget() {
  const target = location.hash === "#match" ? document.querySelector(".events > .current")
    : location.hash.match(/^#e\d+$/) && document.querySelector(location.hash);
  if (target) {
    target.querySelector("details").open = true;
    // Its line: with all its attributes it may be higher than the screen.
    target.querySelector("summary").scrollIntoView({ block: "center" });
  }
}

async function drawTimeline() {
  const answer = await fetch(chart.dataset.marks);
  if (!answer.ok) throw new Error(`the timeline answered ${answer.status}`);
  const story = await answer.json();
  const notes = (mark) => [mark.to && `took ${took(mark.to - mark.from)}`, mark.match && "match", mark.ends && "ended the session", mark.trailing && "trailing", mark.late && "late"].filter(Boolean);
  const time = (ms) => local(ms).slice(11, 23);
  const marks = story.marks.map((mark, position) => ({
    at: mark.at,
    lane: mark.lane,
    text: [`${time(mark.at)}  ${mark.what}`, ...notes(mark)].join(", "),
    fault: mark.fault,
    hollow: mark.trailing || mark.late,
    position,
    match: mark.match,
  }));
  const spans = story.marks.map((mark, position) => ({ ...mark, position, text: marks[position].text }))
    .filter((mark) => mark.to > mark.from)
    .map((mark) => ({ ...mark, colour: mark.fault ? "--lane-problem" : mark.lane === "other" ? "--lane-other" : "--lane-network", thin: true }));
  const lines = story.ended_ms === null ? [] : [{ at: story.ended_ms, text: `end: ${story.end_words.replaceAll("_", " ")}` }];
  lanes = new Lanes(chart, { lanes: story.lanes, marks, spans, groups: [], lines }, {
    label: `Timeline of ${marks.length} events, which are also listed below.`,
    onOpen: (mark) => open(mark.position, story.per_page),
  });
  showKinds();
}

const hidden = new URL(location.href).searchParams.get("hide")?.split(" ") ?? folded;
for (const box of boxes) {
  box.checked = !hidden.includes(box.dataset.lane);
  box.addEventListener("change", showKinds);
}
window.addEventListener("hashchange", openTarget);
showKinds();
openTarget();
drawTimeline().catch((error) => {
  chart.hidden = false;
  chart.textContent = `The timeline cannot be drawn: ${error.message}`;
});
