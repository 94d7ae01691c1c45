// The pages about models: the filter of the list, the canary's share. All texts are in the templates.
"use strict";

(() => {
  const field = document.querySelector("[data-find]");

  function find() {
    if (!field) return;
    const wanted = field.value.trim().toLowerCase();
    let shown = 0;
    for (const group of document.querySelectorAll("[data-group]")) {
      let rows = 0;
      for (const row of group.querySelectorAll("[data-row]")) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        rows += !row.hidden;
      }
      group.hidden = rows === 0;
      if (wanted) group.open = true;
      shown += rows;
    }
    document.getElementById("none-found").hidden = shown > 0 || !wanted;
  }

  if (field) for (const kind of ["input", "change"]) field.addEventListener(kind, find);

  // The list is replaced while a version is loading: it keeps what is open, and the filter.
  let open = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.target.id !== "model-list") return;
    const groups = [...event.target.querySelectorAll("[data-group]")];
    open = new Map(groups.map((group) => [group.dataset.group, group.open]));
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (!open) return;
    for (const group of document.querySelectorAll("[data-group]")) {
      group.open = open.get(group.dataset.group) ?? group.open;
    }
    open = null;
    find();
  });

  for (const slider of document.querySelectorAll("[data-shown]")) {
    const output = document.querySelector(`output[for="${slider.id}"]`);
    const write = () => {
      output.textContent = (slider.value / 100).toLocaleString(document.documentElement.lang, {
        style: "percent", maximumFractionDigits: 1,
      });
    };
    slider.addEventListener("input", write);
    write();
  }
})();
