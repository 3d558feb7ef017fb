// The sessions page: the filter builder beside the filter's text.
import { Builder } from "./builder.js";

const form = document.getElementById("choice");
const text = document.getElementById("filter");
const error = document.getElementById("filter-error");
const place = document.getElementById("builder");
const button = document.getElementById("build");
const save = document.getElementById("save");
let builder = null;
let asked = 0;

async function ask(path, fields) {
  const answer = await fetch(`${path}?${new URLSearchParams(fields)}`);
  const told = await answer.json();
  if (!answer.ok || told.error) throw Object.assign(new Error(told.error ?? `the server answered ${answer.status}`), { place: told.place });
  return told;
}

const suggested = new Map();

/** Words for a field of the builder, of the app that is chosen; each asked for once. */
function suggest(about) {
  const fields = { app: document.getElementById("app").value, ...about };
  const key = JSON.stringify(fields);
  if (!suggested.has(key)) suggested.set(key, ask("/filter/suggestions.json", fields).then((told) => told.words));
  return suggested.get(key);
}

function tell(problem, place) {
  error.textContent = problem;
  // What is at fault is selected, so that it is seen and the next key replaces it.
  if (place) text.setSelectionRange(...place);
  text.setCustomValidity(problem);
  text.toggleAttribute("aria-invalid", Boolean(problem));
}

/** The builder has changed: write the text. The latest change counts, in whatever order the answers come. */
async function write(filter) {
  const mine = ++asked;
  try {
    const told = await ask("/filter/text.json", { filter: JSON.stringify(filter) });
    if (mine !== asked) return;
    text.value = told.text;
    tell("");
  } catch (problem) {
    if (mine === asked) tell(problem.message);
  }
}

/** The text has changed: build it anew. */
async function read() {
  const mine = ++asked;
  try {
    const told = await ask("/filter/parse.json", { text: text.value });
    if (mine !== asked) return false;
    tell("");
    builder?.show(told.filter);
    return told.filter;
  } catch (problem) {
    if (mine === asked) tell(problem.message, problem.place);
    return false;
  }
}

async function toggle() {
  if (!place.hidden) {
    place.hidden = true;
    button.setAttribute("aria-expanded", "false");
    button.textContent = "Build the filter";
    return;
  }
  builder ??= new Builder(place, { ...(await ask("/filter/dimensions.json", {})), suggest }, write);
  if (await read()) {
    place.hidden = false;
    button.setAttribute("aria-expanded", "true");
    button.textContent = "Hide the builder";
    builder.focus();
  }
}

button.hidden = false;
button.addEventListener("click", () => toggle().catch((problem) => tell(problem.message)));
text.addEventListener("input", () => text.setCustomValidity(""));
text.addEventListener("change", read);
form.addEventListener("formdata", (event) => {
  // The filter stays when empty: none, and not the app's default.
  for (const name of ["app", "from", "to"]) if (!event.formData.get(name)) event.formData.delete(name);
});
save.addEventListener("formdata", (event) => event.formData.set("filter", text.value));
