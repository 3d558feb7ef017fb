// Builds a filter from nested groups of conditions. Its form and the JSON form of the filter language are one tree.
import { comparison, element, remover, suggesting } from "./conditions.js";

const KINDS = { all: "all of these", any: "any of these", none: "none of these", some: "not all of these" };
const COUNTED = { at_least: "at least", exactly: "exactly", at_most: "at most" };
let names = 0;

export class Builder {
  constructor(place, vocabulary, onChange) {
    this.place = place;
    this.vocabulary = vocabulary;
    this.onChange = onChange;
    place.before(element("datalist", { id: "event-names" }, vocabulary.events.map((value) => element("option", { value }))));
    for (const type of ["input", "change", "click"]) {
      place.addEventListener(type, (event) => {
        // Buttons change the form by themselves and say so.
        if (type !== "click" || event.target.matches("[data-changes]")) this.changed();
      });
    }
  }

  show(filter) {
    this.root = this.group(filter, true);
    this.place.replaceChildren(this.root.node);
  }

  focus() {
    this.place.querySelector("select, button")?.focus();
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.onChange(this.root.read()), 150);
  }

  /** A part of the form and how to read it: {node, read}. */
  part(filter) {
    if ("event" in filter) return this.event(filter, "has event");
    if ("dimension" in filter) return this.test(filter);
    return this.group(filter, false);
  }

  group(filter, isRoot) {
    const { kind, inner } = unfolded(filter);
    const choice = element("select", { "aria-label": "How these go together" },
      Object.entries(KINDS).map(([value, label]) => element("option", { value, selected: value === kind }, label)));
    const items = element("div", {});
    const parts = new Map();
    const put = (part, isNew) => {
      const line = part.node.tagName === "FIELDSET" ? part.node : element("div", { class: "line" }, part.node);
      parts.set(line, part);
      const cross = remover("Remove", () => {
        parts.delete(line);
        line.remove();
        bar.querySelector("button").focus();
      });
      const tests = part.node.querySelector(":scope > .tests");
      if (tests) tests.before(cross);
      else (part.node.tagName === "FIELDSET" ? part.node.querySelector(":scope > .line") : line).append(cross);
      items.append(line);
      if (isNew) line.querySelector("select, input, button")?.focus();
    };
    const adder = (label, make) => {
      const button = element("button", { type: "button", "data-changes": "" }, label);
      button.addEventListener("click", () => put(make(), true));
      return button;
    };
    const bar = element("div", { class: "line" }, [
      adder("+ Condition", () => this.test({ dimension: "session.end_reason", operator: "eq", value: "" })),
      adder("+ Event", () => this.event({ event: "" }, "has event")),
      adder("+ Group", () => this.group({ any: [] }, false)),
    ]);
    const legend = element("legend", {}, isRoot ? "Sessions that pass" : "Group: pass");
    const node = element("fieldset", {}, [legend, element("div", { class: "line" }, choice), items, bar]);
    for (const each of inner) put(this.part(each), false);
    const read = () => folded(choice.value, [...parts.values()].map((part) => part.read()));
    return { node, read };
  }

  test(test) {
    const { dimensions, keyed, keyed_operators: keyedOperators } = this.vocabulary;
    const key = element("input", { type: "text", "aria-label": "Key", placeholder: "key", hidden: true });
    const groups = new Map();
    const option = (group, value, label, selected) => {
      const options = groups.get(group) ?? groups.set(group, element("optgroup", { label: titled(group) })).get(group);
      options.append(element("option", { value, selected }, label));
    };
    for (const each of dimensions) option(each.group, each.name, each.label, each.name === test.dimension);
    for (const each of keyed) {
      const isThis = !dimensions.some((known) => known.name === test.dimension) && test.dimension.startsWith(each.start);
      option(each.group, each.start, `${each.label} …`, isThis);
      if (isThis) key.value = test.dimension.slice(each.start.length);
    }
    const select = element("select", { "aria-label": "What is compared" }, [...groups.values()]);
    const known = () => dimensions.find((each) => each.name === select.value)
      ?? { type: "keyed", operators: keyedOperators, values: [], suggestions: [] };
    const about = () => {
      if (known().type !== "keyed") return known().is_suggested ? { dimension: select.value } : null;
      return key.value ? { dimension: select.value + key.value } : null;
    };
    const compared = comparison(this.vocabulary, known(), test, about);
    const settle = () => {
      key.hidden = known().type !== "keyed";
      compared.settle(known());
    };
    select.addEventListener("change", settle);
    settle();
    const node = element("span", { class: "line", role: "group", "aria-label": "Condition" },
      [select, ...suggesting(this.vocabulary, key, () => ({ dimension: select.value })), compared.node]);
    return { node, read: () => ({ dimension: select.value + (key.hidden ? "" : key.value), ...compared.read() }) };
  }

  event(event, words) {
    const name = element("input", { type: "text", value: event.event, list: "event-names", placeholder: "event name", "aria-label": "Event name" });
    const tests = element("div", { class: "tests" });
    const parts = new Map();
    const put = (test, isNew) => {
      const attribute = element("input", { type: "text", value: test.attribute, placeholder: "attribute", "aria-label": "Attribute" });
      const type = { type: "keyed", operators: this.vocabulary.keyed_operators, values: [], suggestions: [] };
      const compared = comparison(this.vocabulary, type, test, () => name.value && attribute.value && { event: name.value, attribute: attribute.value });
      const line = element("div", { class: "line", role: "group", "aria-label": "Attribute of the event" },
        ["with", ...suggesting(this.vocabulary, attribute, () => name.value && { event: name.value }), compared.node]);
      line.append(remover("Remove the attribute", () => {
        parts.delete(line);
        line.remove();
      }));
      parts.set(line, () => ({ attribute: attribute.value, ...compared.read() }));
      tests.append(line);
      if (isNew) attribute.focus();
    };
    let next = null;
    const follow = (then, isNew) => {
      next = this.event(then, "then");
      const line = element("div", { class: "tests" }, next.node);
      next.node.querySelector(":scope > .tests").before(remover("Remove what follows", () => {
        next = null;
        line.remove();
        thenButton.hidden = false;
      }));
      node.append(line);
      thenButton.hidden = true;
      if (isNew) line.querySelector("input").focus();
    };
    const button = (label, action) => {
      const made = element("button", { type: "button", "data-changes": "" }, label);
      made.addEventListener("click", action);
      return made;
    };
    const testButton = button("+ Attribute", () => put({ attribute: "", operator: "eq", value: "" }, true));
    const thenButton = button("+ Then", () => follow({ event: "" }, true));
    const isLater = words === "then";
    const choices = isLater ? { "": "comes", absent: "does not come" } : { "": "once or more", ...COUNTED };
    const chosen = isLater ? (event.absent ? "absent" : "") : (Object.keys(COUNTED).find((key) => key in event) ?? "");
    const how = element("select", { "aria-label": isLater ? "Whether it comes" : "How often" },
      Object.entries(choices).map(([value, label]) => element("option", { value, selected: value === chosen }, label)));
    const number = element("input", { type: "number", min: "0", step: "1", class: "short", value: String(event[chosen] ?? 1), "aria-label": "Number of events" });
    const within = element("input", { type: "text", class: "short", value: event.within ?? "", placeholder: "within, as 10s", "aria-label": "Within" });
    const settle = () => {
      number.hidden = !(how.value in COUNTED);
      within.hidden = !isLater && how.value !== "at_least";
      thenButton.hidden = how.value in COUNTED || next !== null;
    };
    how.addEventListener("change", settle);
    const id = `event-${++names}`;
    const label = element("label", { for: id }, words);
    name.id = id;
    const node = element("div", { class: "line", role: "group", "aria-label": "Event" }, [label, name, how, number, within, testButton, thenButton, tests]);
    for (const each of event.tests ?? []) put(each, false);
    if (event.then) follow(event.then, false);
    settle();
    const read = () => {
      const told = [...parts.values()].map((each) => each());
      return {
        event: name.value,
        ...(told.length ? { tests: told } : {}),
        ...(how.value in COUNTED ? { [how.value]: Number(number.value) } : next ? { then: next.read() } : {}),
        ...(how.value === "absent" ? { absent: true } : {}),
        ...(!within.hidden && within.value.trim() ? { within: within.value.trim() } : {}),
      };
    };
    return { node, read };
  }
}

const titled = (word) => word.charAt(0).toUpperCase() + word.slice(1);

/** The kind of a group, and what it holds. Whatever is not a group is one of its own. */
function unfolded(filter) {
  if ("all" in filter) return { kind: "all", inner: filter.all };
  if ("any" in filter) return { kind: "any", inner: filter.any };
  if (!("not" in filter)) return { kind: "all", inner: [filter] };
  if ("any" in filter.not) return { kind: "none", inner: filter.not.any };
  if ("all" in filter.not) return { kind: "some", inner: filter.not.all };
  return { kind: "none", inner: [filter.not] };
}

function folded(kind, inner) {
  return { all: () => ({ all: inner }), any: () => ({ any: inner }), none: () => ({ not: { any: inner } }), some: () => ({ not: { all: inner } }) }[kind]();
}
