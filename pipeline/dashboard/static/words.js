// The words that a field suggests are asked for once somebody is about to write one.
for (const list of document.querySelectorAll("datalist[data-words]")) {
  const ask = async () => {
    const answer = await fetch(list.dataset.words);
    // Without suggestions the field is what it was.
    if (!answer.ok) return;
    const { words } = await answer.json();
    list.replaceChildren(...words.map((word) => Object.assign(document.createElement("option"), { value: word })));
  };
  document.querySelector(`[list="${list.id}"]`).addEventListener("focus", ask, { once: true });
}
