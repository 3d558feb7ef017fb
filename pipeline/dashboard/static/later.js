// What takes longer comes after the page: each place marked `data-load` is filled with its namesake of another page.
async function fill(place) {
  place.textContent = "Adding up…";
  try {
    const answer = await fetch(place.dataset.load);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    // A page of our own, escaped by the server; what is parsed here runs no script.
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    place.replaceChildren(...page.getElementById(place.id).childNodes);
  } catch (error) {
    place.textContent = `This cannot be shown: ${error.message}`;
  }
}

for (const place of document.querySelectorAll("[data-load]")) fill(place);
