// A list that keeps up: while it is asked to, what stands under an id is fetched anew and put in place of the old.
import { local } from "./zone.js";

const every = 10e3;

function begin(button) {
  const told = button.parentElement.querySelector("[role=status]");
  const id = button.dataset.follow;
  let timer = null;

  async function look() {
    try {
      // Where nobody looks, and while somebody is at a row, the list stays as it is.
      if (!document.hidden && !place().querySelector("tbody")?.contains(document.activeElement)) await renew();
    } catch (error) {
      told.textContent = `The list could not be renewed: ${error.message}. It is tried again.`;
    }
    if (timer !== null) timer = setTimeout(look, every);
  }

  const place = () => document.getElementById(id);
  const first = () => place().querySelector("tbody tr a[href]")?.getAttribute("href");

  async function renew() {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    // A page of our own, escaped by the server; what is parsed here runs no script.
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const before = first();
    for (const old of place().querySelectorAll(":scope > table, :scope > .notice, :scope > .paging")) old.remove();
    for (const each of page.getElementById(id).querySelectorAll(":scope > table, :scope > .notice, :scope > .paging")) place().append(each);
    // The numbers above the list; the bars are left, which somebody may be dragging over.
    const numbers = page.querySelector("#counts .figures");
    if (numbers) document.querySelector("#counts .figures")?.replaceWith(numbers);
    const at = local(Date.now()).slice(11, 19);
    told.textContent = first() === before ? `Nothing new until ${at}.` : `New sessions came at ${at}.`;
  }

  function toggle(on) {
    clearTimeout(timer);
    timer = null;
    button.setAttribute("aria-pressed", String(on));
    told.textContent = "";
    if (on) {
      timer = 0;
      look();
    }
    const address = new URL(location.href);
    if (on) address.searchParams.set("follow", "1");
    else address.searchParams.delete("follow");
    history.replaceState(null, "", address);
  }

  button.hidden = false;
  button.addEventListener("click", () => toggle(button.getAttribute("aria-pressed") !== "true"));
  if (new URL(location.href).searchParams.get("follow") === "1") toggle(true);
}

for (const button of document.querySelectorAll("[data-follow]")) begin(button);
