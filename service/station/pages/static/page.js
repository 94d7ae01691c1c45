// Replaces the parts of the page that change, and says so when no news comes.
"use strict";

const SILENT_MS = 4000;
const news = document.getElementById("news");
const large = document.getElementById("large");
let heardAt = Date.now();

function say(text) {
  news.textContent = text;
  news.hidden = !text;
  document.body.classList.toggle("stale", Boolean(text));
}

function show(fragments) {
  const focused = document.activeElement ? document.activeElement.id : "";
  for (const [name, html] of Object.entries(fragments)) {
    const place = document.getElementById(name);
    if (place) place.innerHTML = html;
  }
  const again = focused && document.getElementById(focused);
  if (again && again !== document.activeElement) again.focus({ preventScroll: true });
}

const source = new EventSource("/events");
source.onmessage = (event) => {
  heardAt = Date.now();
  say("");
  show(JSON.parse(event.data));
};
source.addEventListener("end", () => say("NOT LIVE: the station has ended"));
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) {
    say("NOT LIVE: the station gives no live updates, perhaps to too many browsers. Reload later");
  }
};
setInterval(() => {
  if (Date.now() - heardAt > SILENT_MS && news.hidden) say("NOT LIVE: the station does not answer");
}, 500);

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-large]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  large.querySelector("img").src = link.dataset.large;
  large.querySelector("p").textContent = link.closest("li").querySelector(".part").textContent;
  large.showModal();
});
large.addEventListener("click", (event) => {
  if (event.target === large) large.close();
});
