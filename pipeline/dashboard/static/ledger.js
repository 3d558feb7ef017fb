// The ledger counts every event that is stored: it comes after the page, which need not wait for it.
const place = document.querySelector("[data-load]");
place.textContent = "Adding up…";
try {
  const answer = await fetch(place.dataset.load);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  place.replaceChildren(...page.getElementById("ledger").childNodes);
} catch (error) {
  place.textContent = `The ledger cannot be shown: ${error.message}`;
}
