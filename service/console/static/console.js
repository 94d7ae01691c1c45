// Layers of pictures, and menus: what every page needs. All texts are in the templates.
"use strict";

document.addEventListener("input", (event) => {
  const field = event.target;
  const picture = field.closest("[data-picture]");
  if (!picture) return;
  if ("blend" in field.dataset) {
    picture.querySelector(".heat").setAttribute("opacity", field.value / 100);
  } else if (field.dataset.layer) {
    picture.querySelector("." + field.dataset.layer).classList.toggle("off", !field.checked);
  }
});

function prepare(root) {
  for (const box of root.querySelectorAll("[data-layer]")) {
    const picture = box.closest("[data-picture]");
    picture.querySelector("." + box.dataset.layer).classList.toggle("off", !box.checked);
  }
}

document.addEventListener("htmx:afterSwap", (event) => prepare(event.target));
document.addEventListener("DOMContentLoaded", () => {
  prepare(document);
  // From a part back to the search that it was found by.
  for (const link of document.querySelectorAll("[data-last-search]")) {
    link.search = sessionStorage.getItem("search") ?? "";
  }
  if (document.querySelector(".filters")) sessionStorage.setItem("search", location.search);
  // On a phone, filters that filter nothing make room for what they would filter.
  const filters = document.querySelector("[data-narrow-closed]");
  if (filters && window.innerWidth < 860) filters.open = false;
});

// A menu closes at a click elsewhere and by Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
