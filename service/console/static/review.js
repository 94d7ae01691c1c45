// The page Review: keys, and the next image before it is needed. All texts are in the templates.
"use strict";

(() => {
  const desk = document.getElementById("desk");
  const trouble = document.getElementById("trouble");
  const noAnswer = document.getElementById("no-answer");
  const layers = new Map(); // how the person wants to see images
  let isBusy = false;
  let next = null; // the image is kept as long as it may be needed

  document.addEventListener("change", (event) => {
    if ("submits" in event.target.dataset) event.target.form.requestSubmit();
  });

  function look() {
    const shown = document.getElementById("part-shown");
    next = null;
    if (shown.dataset.preload) {
      next = new Image();
      next.src = shown.dataset.preload;
    }
    const said = desk.querySelector("[data-said]");
    document.getElementById("said").textContent = said ? said.textContent.trim() : "";
  }

  function keepLayers() {
    for (const field of desk.querySelectorAll("[data-blend], [data-layer]")) {
      const name = field.dataset.layer || "blend";
      layers.set(name, field.type === "checkbox" ? field.checked : field.value);
    }
  }

  function useLayers() {
    for (const field of desk.querySelectorAll("[data-blend], [data-layer]")) {
      const value = layers.get(field.dataset.layer || "blend");
      if (value === undefined) continue;
      if (field.type === "checkbox") field.checked = value;
      else field.value = value;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }

  const withKey = (key) =>
    [...desk.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);

  function keyInField(event, field) {
    if (event.key === "Escape") field.blur();
    if (event.key !== "Enter" || !desk.contains(field)) return;
    event.preventDefault(); // or the first button would judge the part
    if (field.dataset.key === "c") {
      if (!isBusy && !event.repeat) withKey("d").click();
    } else field.blur();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const field = event.target.closest("input:not([type=checkbox], [type=range]), select");
    if (field) {
      keyInField(event, field);
      return;
    }
    if (event.repeat || isBusy || document.querySelector("details.menu[open]")) return;
    const chosen = withKey(event.key.toLowerCase());
    if (!chosen) return;
    event.preventDefault();
    if (chosen.matches("input")) chosen.focus();
    else chosen.click();
  });

  // While an answer is awaited, a second click would judge a part that nobody has seen.
  desk.addEventListener("click", (event) => {
    if (!isBusy || !event.target.closest("button")) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);

  document.addEventListener("htmx:beforeRequest", () => {
    isBusy = true;
    keepLayers();
    // Else htmx would put the focus into the same field of the next part, and keys would be text.
    if (desk.contains(document.activeElement)) document.activeElement.blur();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const isProblem = event.detail.xhr.status >= 400;
    if (isProblem) event.detail.target = trouble;
    else trouble.replaceChildren();
    noAnswer.hidden = true;
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    isBusy = false;
    if (event.detail.target !== desk) return;
    useLayers();
    look();
    if (!desk.contains(document.activeElement)) {
      desk.querySelector("[data-first]").focus({ preventScroll: true });
    }
  });
  for (const failure of ["htmx:sendError", "htmx:timeout", "htmx:swapError"]) {
    document.addEventListener(failure, () => {
      isBusy = false;
      noAnswer.hidden = false;
    });
  }
  document.addEventListener("DOMContentLoaded", look);
})();
