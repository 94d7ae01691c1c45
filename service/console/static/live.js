// The page Live: puts tiles where they belong. The service draws them.
"use strict";

(() => {
  const board = document.getElementById("board");
  const { base, stream, after, only } = board.dataset;
  const ASK_EVERY_MS = 3600000;

  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }

  // Screen readers hear of NG and of new alarms; other parts come too often to be read out.
  const SAY_EVERY_MS = 2000;
  const announced = document.getElementById("announced");
  let said = 0;
  let alarms = alarmsIn(document);

  function alarmsIn(root) {
    return [...root.querySelectorAll(".alarms li")].map((one) => one.textContent.trim());
  }

  function sayNg(tile, old) {
    const part = tile.querySelector("[data-part]")?.dataset.part;
    const isNew = part !== old?.querySelector("[data-part]")?.dataset.part;
    if (tile.dataset.state !== "NG" || !isNew || Date.now() - said < SAY_EVERY_MS) return;
    said = Date.now();
    const which = [".word", ".which"].map((one) => tile.querySelector(one).textContent.trim());
    announced.textContent = [tile.querySelector("h2").textContent, ...which].join(": ");
  }

  function sayAlarms(state) {
    const now = alarmsIn(state);
    const fresh = now.filter((one) => !alarms.includes(one));
    if (fresh.length) document.getElementById("alarmed").textContent = fresh.join("; ");
    alarms = now;
  }

  const tileOf = (key) => [...board.children].find((tile) => tile.dataset.key === key);

  function showTile({ key, changed, html }) {
    if (only && key !== only) return;
    const old = tileOf(key);
    if (old && Number(old.dataset.changed) > changed) return;
    const focused = old && old.contains(document.activeElement) ? document.activeElement : null;
    const address = focused && focused.getAttribute("href");
    const tile = parsed(html).firstElementChild;
    if (old) old.replaceWith(tile);
    else board.append(tile);
    sayNg(tile, old);
    if (focused) { // the keyboard stays where it was
      const links = [...tile.querySelectorAll("a")];
      (links.find((link) => link.getAttribute("href") === address) ?? links[0]).focus();
    }
    document.getElementById("nothing").hidden = true;
  }

  function showState({ html, order }) {
    const state = document.getElementById("state");
    if (state.dataset.html !== html) {
      state.dataset.html = html;
      state.replaceChildren(parsed(html));
      sayAlarms(state);
    }
    for (const tile of [...board.children]) {
      if (!order.includes(tile.dataset.key)) tile.remove();
    }
    const places = order.filter(tileOf);
    const shown = [...board.children].map((tile) => tile.dataset.key);
    if (places.join("\n") !== shown.join("\n")) {
      for (const key of places) board.append(tileOf(key));
    }
  }

  function showLink(kind) {
    document.body.classList.toggle("old", kind !== "live");
    for (const one of document.querySelectorAll("[data-link]")) {
      one.hidden = one.dataset.link !== kind;
    }
  }

  function take({ kind, data }) {
    if (kind === "lost" || kind === "ended") {
      showLink(kind);
      return;
    }
    showLink("live");
    if (kind === "tile") showTile(data);
    if (kind === "state") showState(data);
  }

  let worker = null;
  try {
    worker = new SharedWorker(stream, { name: document.documentElement.lang });
  } catch { /* this browser has none: the tab opens its own stream */ }
  if (worker) {
    worker.onerror = () => openStream(base, after, take);
    worker.port.onmessage = ({ data }) => take(data);
    worker.port.postMessage({ base: new URL(base, location.href).href, after });
  } else {
    openStream(base, after, take);
  }
  setInterval(() => fetch(base + "/cursor").catch(() => {}), ASK_EVERY_MS);
})();
