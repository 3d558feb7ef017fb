// One comparison of the filter builder: an operator, and fields for the value that fit it.

/** An element; text is set as text and never read as HTML. */
export function element(tag, attributes = {}, children = []) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...[children].flat());
  return made;
}

export function remover(label, action) {
  const button = element("button", { type: "button", class: "plain", "aria-label": label, title: label, "data-changes": "" }, "×");
  button.addEventListener("click", action);
  return button;
}

/** A list of suggestions for a text field, fetched when one comes to it: `about()` says what of, or null for nothing. */
export function suggesting(vocabulary, input, about, known = []) {
  const list = element("datalist", { id: `values-${++lists}` });
  const fill = (words) => list.replaceChildren(...[...new Set([...known, ...words])].map((value) => element("option", { value })));
  input.setAttribute("list", list.id);
  fill([]);
  input.addEventListener("focus", async () => {
    const asked = about();
    // Without an answer one writes as before: suggestions are a help and no more.
    if (asked) fill(await vocabulary.suggest(asked).catch(() => []));
  });
  return [input, list];
}

const NUMERIC = new Set(["gt", "gte", "lt", "lte", "between"]);
let lists = 0;

/**
 * {node, read, settle}: `settle(dimension)` fits it to another dimension, `read()` gives operator and value.
 * `about()` says what suggestions are for.
 */
export function comparison(vocabulary, first, test, about) {
  let dimension = first;
  let given = test.value;
  const operator = element("select", { "aria-label": "Operator" });
  const fields = element("span", { class: "line" });
  const node = element("span", { class: "line" }, [operator, fields]);

  const offer = (chosen) => {
    operator.replaceChildren(...dimension.operators.map((each) =>
      element("option", { value: each, selected: each === chosen }, vocabulary.operator_words[each] ?? each)));
  };

  const field = (value, label = "Value") => {
    const values = dimension.type === "boolean" ? ["true", "false"] : dimension.values;
    if (values.length) {
      return element("select", { "aria-label": label },
        values.map((each) => element("option", { value: each, selected: each === String(value) }, each)));
    }
    // A duration (5m) and how long ago something is (-7d) are texts.
    const type = dimension.type === "number" && !dimension.is_duration ? "number" : "text";
    const shown = dimension.type === "time" ? String(value ?? "").replace(/^(\d{4}-\d\d-\d\dT\d\d:\d\d).*$/, "$1") : String(value ?? "");
    const placeholder = dimension.type === "time" ? "2026-01-31T08:30 or -7d" : dimension.is_duration ? "5m, 1h30m or ms" : undefined;
    const made = element("input", { type, value: shown, placeholder, "aria-label": label, step: type === "number" ? "any" : undefined });
    if (type === "text" && !placeholder) return suggesting(vocabulary, made, about, dimension.suggestions);
    return made;
  };

  const layOut = () => {
    const many = Array.isArray(given) ? given : [given ?? ""];
    if (operator.value === "exists") fields.replaceChildren();
    else if (operator.value === "between") {
      fields.replaceChildren(...[field(many[0], "From")].flat(), "and", ...[field(many[1] ?? "", "To")].flat());
    } else if (operator.value === "in") {
      fields.replaceChildren(element("textarea", { rows: Math.max(2, Math.min(many.length, 6)), "aria-label": "Values, one a line", placeholder: "one a line" }, many.join("\n")));
    } else fields.replaceChildren(...[field(many[0])].flat());
  };

  const typed = (text) => {
    if (dimension.type === "boolean") return text === "true";
    const known = (Array.isArray(given) ? given : [given]).find((each) => typeof each !== "string" && String(each) === text);
    if (known !== undefined) return known;
    const wantsNumber = dimension.type === "number" || (dimension.type === "keyed" && NUMERIC.has(operator.value));
    if (wantsNumber && text.trim() !== "" && Number.isFinite(Number(text))) return Number(text);
    return dimension.type === "time" && /T\d\d:\d\d$/.test(text) ? `${text}Z` : text;
  };

  const read = () => {
    const chosen = operator.value;
    if (chosen === "exists") return given === false ? { operator: chosen, value: false } : { operator: chosen };
    const texts = [...fields.querySelectorAll("input, select, textarea")].map((each) => each.value);
    if (chosen === "in") return { operator: chosen, value: texts[0].split("\n").filter((line) => line !== "").map(typed) };
    if (chosen === "between") return { operator: chosen, value: texts.map(typed) };
    return { operator: chosen, value: typed(texts[0]) };
  };

  const settle = (next) => {
    dimension = next;
    offer(dimension.operators.includes(operator.value) ? operator.value : dimension.operators[0]);
    layOut();
  };

  offer(test.operator);
  layOut();
  operator.addEventListener("change", () => {
    const texts = [...fields.querySelectorAll("input, textarea")].map((each) => each.value);
    if (texts.length && texts[0] !== "") given = texts.flatMap((text) => text.split("\n"));
    layOut();
  });
  return { node, read, settle };
}
