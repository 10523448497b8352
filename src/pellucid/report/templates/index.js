"use strict";
(() => {
  const list = document.getElementById("cases");
  const form = document.getElementById("tools");
  const nothing = document.getElementById("nothing");
  const filters = [...form.querySelectorAll("[data-filter]")];
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const cases = [...list.children].map((node) => ({
    node,
    number: Number(node.dataset.number),
    details: node.querySelector("details"),
    maps: [...node.querySelectorAll(".map")],
    more: node.querySelector(".more"),
    predicted: node.querySelector(".says").textContent,
    text: plain(node.querySelector("summary").textContent + " " + node.querySelector(".path").textContent),
  }));
  const figure = (map) => (map.dataset.p === "None" ? NaN : Number(map.dataset.p));
  const last = (a, b, sign) => (isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) : sign * (a - b)); // unknown ones come last
  const names = new Intl.Collator(undefined, { numeric: true });
  const orders = {
    name: () => 0,
    predicted: (a, b) => names.compare(a.predicted, b.predicted),
    high: (a, b) => last(figure(a.shown), figure(b.shown), -1),
    low: (a, b) => last(figure(a.shown), figure(b.shown), 1),
    empty: (a, b) => ("empty" in b.shown.dataset) - ("empty" in a.shown.dataset),
    wrong: (a, b) => ("wrong" in b.node.dataset) - ("wrong" in a.node.dataset),
  };

  function fits(one, map) {
    const show = form.elements.show.value;
    return filters.every((each) => !each.value || map.dataset[each.name].split("\n").includes(each.value))
      && (show !== "empty" || "empty" in map.dataset)
      && (show !== "wrong" || "wrong" in one.node.dataset)
      && (show !== "warned" || "warned" in one.node.dataset);
  }

  // A card shows the first map that fits; the other maps of its image are shown large.
  function update() {
    const words = plain(form.elements.search.value).split(/\s+/).filter(Boolean);
    const shown = [];
    for (const one of cases) {
      one.shown = words.every((word) => one.text.includes(word)) ? one.maps.find((map) => fits(one, map)) : undefined;
      one.node.hidden = !one.shown;
      if (!one.shown) continue;
      for (const map of one.maps) map.hidden = map !== one.shown;
      one.more.hidden = one.maps.length < 2;
      one.more.textContent = `${one.maps.length} maps`;
      shown.push(one);
    }
    shown.sort((a, b) => orders[form.elements.sort.value](a, b) || a.number - b.number);
    list.append(...shown.map((one) => one.node));
    nothing.hidden = shown.length > 0;
    form.elements.count.textContent = shown.length === cases.length ? `${cases.length} images` : `${shown.length} of ${cases.length} images`;
  }

  function move(step) {
    const shown = [...list.children].filter((node) => !node.hidden).map((node) => node.querySelector("summary"));
    const at = shown.indexOf(document.activeElement.closest?.(".case")?.querySelector("summary"));
    const next = shown[at < 0 ? 0 : Math.min(Math.max(at + step, 0), shown.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = event.target.matches("input, select");
    const open = event.target.closest(".case details[open]");
    if (event.key === "Escape" && open) {
      open.open = false;
      open.querySelector("summary").focus();
    } else if (typing) return;
    else if (event.key === "/") form.elements.search.focus();
    else if (event.key === "ArrowRight") move(1);
    else if (event.key === "ArrowLeft") move(-1);
    else return;
    event.preventDefault();
  });
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update)); // the fields are reset after the event
  nothing.querySelector("button").addEventListener("click", () => form.reset());
  for (const one of cases)
    one.details.addEventListener("toggle", () => one.details.open && one.node.scrollIntoView({ block: "nearest" }));
  for (const link of list.querySelectorAll(".set"))
    link.addEventListener("click", () => (document.querySelector(link.hash).open = true));
  form.hidden = document.getElementById("keys").hidden = false;
  update();
})();
