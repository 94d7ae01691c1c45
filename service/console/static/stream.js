// One stream of server-sent events for a browser: the tabs share it through a SharedWorker.
"use strict";

const QUIET_MS = 25000; // the service says something every 10 s

function openStream(base, after, emit) {
  let source;
  let watchdog;
  let last = after;

  function alive() {
    clearTimeout(watchdog);
    watchdog = setTimeout(again, QUIET_MS);
  }

  function again() { // nothing came: a computer that slept has a connection that is none
    source.close();
    emit({ kind: "lost" });
    connect();
  }

  async function refused() {
    clearTimeout(watchdog);
    try {
      const answer = await fetch(base + "/cursor");
      if (answer.status === 401 || answer.status === 403) {
        emit({ kind: "ended" });
        return;
      }
    } catch { /* the service is away */ }
    setTimeout(connect, 1000);
  }

  function connect() {
    source = new EventSource(base + "/events?after=" + encodeURIComponent(last));
    alive();
    for (const kind of ["tile", "state", "beat"]) {
      source.addEventListener(kind, (event) => {
        alive();
        if (event.lastEventId) last = event.lastEventId;
        emit({ kind, data: JSON.parse(event.data) });
      });
    }
    source.onerror = () => {
      emit({ kind: "lost" });
      if (source.readyState === EventSource.CLOSED) refused();
    };
  }

  connect();
}

if (typeof SharedWorkerGlobalScope !== "undefined") {
  const ports = [];
  const tiles = new Map(); // for tabs that open later
  let state = null;
  let isOpen = false;

  const tell = (message) => {
    if (message.kind === "tile") tiles.set(message.data.key, message);
    if (message.kind === "state") state = message;
    if (message.kind === "ended") isOpen = false;
    for (const port of ports) port.postMessage(message);
  };

  self.onconnect = ({ ports: [port] }) => {
    ports.push(port);
    port.onmessage = ({ data }) => {
      for (const message of tiles.values()) port.postMessage(message);
      if (state) port.postMessage(state);
      if (!isOpen) {
        isOpen = true;
        openStream(data.base, data.after, tell);
      }
    };
  };
}
