// The page Thresholds: counts at any place from the sorted scores, charts, and moving the place.
// All statistics come from the service; this file looks them up. All texts are in the template.
"use strict";

(() => {
  const bench = document.getElementById("workbench");
  const el = (id) => document.getElementById(id);
  const language = document.documentElement.lang;
  const KINDS = ["D", "G", "U", "-"]; // from the bottom of a bar
  const PICTURE_KINDS = { D: "kind-D", G: "kind-G", U: "kind-U", "-": "kind-N" };
  const TOLD = { O: "OK", W: "REVIEW", N: "NG", U: "UNDECIDED" };
  const STEPS = 500;
  const SPEAK_AFTER_MS = 700;
  const COSTS_KEY = "mambaad-costs";
  const MOST_COST = 1e9;

  const plain = new Intl.NumberFormat(language);
  const exact = new Intl.NumberFormat(language, { maximumSignificantDigits: 6 });
  const signed = new Intl.NumberFormat(language, { signDisplay: "exceptZero" });
  const money = new Intl.NumberFormat(language, { maximumSignificantDigits: 4 });
  const optional = (text) => (text === "" ? null : Number(text));
  const inForce = { threshold: Number(bench.dataset.threshold), review: optional(bench.dataset.review) };
  const calibrated = { threshold: Number(bench.dataset.calibrated), review: optional(bench.dataset.calibratedReview) };

  let data = null;
  let view = null;
  let place = { ...inForce };
  const charts = [];

  function share(value) {
    const digits = value > 0 && value < 0.01 ? 2 : 1;
    return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(value);
  }

  function write(name, text) {
    for (const one of document.querySelectorAll(`[data-out="${name}"]`)) one.textContent = text;
  }

  // --- Data ---------------------------------------------------------------------------------

  function numbers(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    return new Kind(bytes.buffer);
  }

  function curve(of) {
    const names = ["rate", "low", "high", "share"];
    return Object.fromEntries(names.map((name) => [name, numbers(of[name], Float32Array)]));
  }

  function taken(content) {
    const raw = numbers(content.raw, Float64Array);
    const of = (letters) => raw.filter((_, i) => letters.includes(content.verdicts[i]));
    const told = { OK: 0, REVIEW: 0, NG: 0, UNDECIDED: 0 };
    for (const letter of content.told) told[TOLD[letter]] += 1;
    return {
      raw, told,
      kinds: { D: of("Dd"), G: of("Gg"), U: of("Uu"), "-": of("-") },
      good: of("G"), defective: of("D"),
      places: numbers(content.places, Float64Array),
      false_rejects: curve(content.false_rejects), escapes: curve(content.escapes),
      promises: content.promises,
    };
  }

  // The number of sorted values that are not above a limit: NG means strictly above the threshold.
  function notAbove(sorted, limit) {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] <= limit) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  const passLimit = (at) => at.review ?? at.threshold;

  function decided(at) {
    const passed = notAbove(data.raw, passLimit(at));
    const rejected = data.raw.length - notAbove(data.raw, at.threshold);
    return { OK: passed, NG: rejected, REVIEW: data.raw.length - passed - rejected };
  }

  function costAt(at, costs) {
    const parts = data.raw.length;
    const rejects = data.false_rejects.share[notAbove(data.places, at.threshold)];
    const escapes = data.escapes.share[notAbove(data.places, passLimit(at))];
    const reviews = costs.review ? decided(at).REVIEW / parts : 0;
    return 1000 * (costs.false_rejects * rejects + costs.escapes * escapes + costs.review * reviews);
  }

  // --- Figures ------------------------------------------------------------------------------

  function rateText(of, limit) {
    const i = notAbove(data.places, limit);
    if (!(of.rate[i] >= 0)) return "–";
    return `${share(of.rate[i])} (${share(of.low[i])}\u00a0–\u2060\u00a0${share(of.high[i])})`;
  }

  // Lines break between the pieces alone.
  const withShare = (count) => `${plain.format(count)} ·\u00a0${share(count / data.raw.length)}`;

  function outOf(count, total) {
    const text = el("of-text").dataset.textOf;
    return text.replace("{count}", plain.format(count)).replace("{total}", plain.format(total));
  }

  function writeColumn(name, at) {
    const counts = decided(at);
    for (const key of ["NG", "REVIEW", "OK"]) {
      write(`${name}.${key}`, withShare(counts[key]));
    }
    const { good, defective } = data;
    write(`${name}.good`, outOf(good.length - notAbove(good, at.threshold), good.length));
    write(`${name}.defective`, outOf(notAbove(defective, passLimit(at)), defective.length));
    write(`${name}.false_rejects`, rateText(data.false_rejects, at.threshold));
    write(`${name}.escapes`, rateText(data.escapes, passLimit(at)));
    return counts;
  }

  function boundAt(limit) {
    const steps = data.promises.steps.filter((step) => step.threshold <= limit);
    return steps.length ? steps[steps.length - 1].rate : null;
  }

  function writePromise() {
    const { promises } = data;
    const bound = boundAt(place.threshold);
    const kind = bound === null ? (promises.has_quantiles ? "below" : "older")
      : promises.is_held_out ? "bound" : "estimate";
    const both = place.review === null ? null : boundAt(place.review);
    for (const one of document.querySelectorAll("[data-promise]")) {
      one.hidden = one.dataset.promise !== kind && !(one.dataset.promise === "review" && kind === "bound" && both !== null);
    }
    write("promise.rate", bound === null ? "" : share(bound));
    write("promise.estimate", bound === null ? "" : share(bound));
    write("promise.review", both === null ? "" : share(both));
  }

  let speaking = 0;
  function speak(counts) {
    clearTimeout(speaking);
    speaking = setTimeout(() => {
      const spoken = el("spoken");
      spoken.textContent = spoken.dataset.text.replace(/\{(\w+)\}/g, (_, key) => plain.format(counts[key]));
    }, SPEAK_AFTER_MS);
  }

  function writeFigures() {
    const here = writeColumn("here", place);
    const force = writeColumn("force", inForce);
    for (const key of ["NG", "REVIEW", "OK"]) write(`change.${key}`, signed.format(here[key] - force[key]));
    writePromise();
    writeCosts();
    speak(here);
    write("new.threshold", exact.format(place.threshold));
    write("new.review", place.review === null ? "" : exact.format(place.review));
    for (const [id, shown] of [["new-band", place.review !== null], ["new-no-band", place.review === null]]) {
      if (el(id)) el(id).hidden = !shown;
    }
    const apply = el("open-apply");
    if (apply) apply.disabled = place.threshold === inForce.threshold && place.review === inForce.review;
  }

  // --- Costs --------------------------------------------------------------------------------

  const costFields = [...document.querySelectorAll("[data-cost-of]")];
  let least = null;

  function costsGiven() {
    return Object.fromEntries(costFields.map((field) => [field.dataset.costOf, Math.min(MOST_COST, Math.max(0, Number(field.value) || 0))]));
  }

  const bandOf = (at) => (at.review === null ? null : at.threshold - at.review);
  const withBand = (threshold, band) => ({ threshold, review: band === null ? null : threshold - band });

  // The cost is constant between two scores of judged parts: one look at each middle finds the least.
  function leastCost(costs, band) {
    const edges = new Set(data.places);
    if (band !== null) for (const one of data.places) edges.add(one + band);
    const sorted = [...edges].sort((a, b) => a - b);
    if (!sorted.length) return null;
    const middles = sorted.slice(1).map((one, i) => (one + sorted[i]) / 2);
    const candidates = [sorted[0] - view.step, ...middles, sorted[sorted.length - 1] + view.step];
    let best = null;
    for (const threshold of candidates) {
      const cost = costAt(withBand(threshold, band), costs);
      if (best === null || cost < best.cost) best = { threshold, cost };
    }
    if (best === null || !(best.cost >= 0)) return null;
    const short = rounded(best.threshold);
    return costAt(withBand(short, band), costs) === best.cost ? { ...best, threshold: short } : best;
  }

  function writeCosts() {
    const costs = costsGiven();
    const texts = { here: costAt(place, costs), force: costAt(inForce, costs) };
    for (const [name, cost] of Object.entries(texts)) write(`cost.${name}`, cost >= 0 ? money.format(cost) : "–");
    least = leastCost(costs, bandOf(place));
    write("cost.least", least ? money.format(least.cost) : "–");
    write("cost.place", least ? exact.format(least.threshold) : "–");
    el("to-least").disabled = !least;
  }

  function costCurve() {
    const costs = costsGiven();
    const band = bandOf(place);
    const xs = [];
    for (let i = 0; i <= STEPS; i += 1) xs.push(view.low + ((view.high - view.low) * i) / STEPS);
    const known = data.false_rejects.share.length && costAt(inForce, costs) >= 0;
    const ys = xs.map((x) => (known ? costAt(withBand(x, band), costs) : null));
    return [xs, ys];
  }

  // --- Charts -------------------------------------------------------------------------------

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The chart shows nearly all parts; a few far away do not squeeze the others.
  function viewOf(raw) {
    const ends = [raw[0], raw[raw.length - 1]];
    const at = (part) => raw[Math.min(raw.length - 1, Math.floor(raw.length * part))];
    const spread = at(0.995) - at(0.005) || ends[1] - ends[0] || Math.abs(ends[0]) || 1;
    const marks = [inForce, calibrated].flatMap((one) => [one.threshold, one.review]).filter((one) => one !== null);
    const close = marks.filter((one) => one > at(0.005) - 3 * spread && one < at(0.995) + 3 * spread);
    let low = Math.min(Math.max(ends[0], at(0.005) - spread), ...close);
    let high = Math.max(Math.min(ends[1], at(0.995) + spread), ...close);
    const room = (high - low || Math.abs(low) || 1) * 0.04;
    low -= room;
    high += room;
    const step = 10 ** Math.floor(Math.log10((high - low) / STEPS));
    return { low, high, step };
  }

  function binned(count) {
    const width = (view.high - view.low) / count;
    const binOf = (one) => Math.min(count - 1, Math.max(0, Math.floor((one - view.low) / width)));
    const bins = {};
    for (const kind of KINDS) {
      bins[kind] = new Array(count).fill(0);
      for (const one of data.kinds[kind]) bins[kind][binOf(one)] += 1;
    }
    const centres = Array.from({ length: count }, (_, i) => view.low + width * (i + 0.5));
    return { bins, centres, width };
  }

  function stacked({ bins, centres }) {
    const below = new Array(centres.length).fill(0);
    const rows = {};
    for (const kind of KINDS) {
      const shown = document.querySelector(`[data-kind="${kind}"]`).checked;
      if (shown) bins[kind].forEach((count, i) => { below[i] += count; });
      rows[kind] = shown ? below.map((count, i) => (bins[kind][i] ? count : null)) : below.map(() => null);
    }
    return [centres, ...[...KINDS].reverse().map((kind) => rows[kind])];
  }

  const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

  function axes(labels, format) {
    const scale = rem() / 16;
    const font = `${Math.round(12 * scale)}px system-ui, sans-serif`;
    const common = { stroke: colour("--soft"), grid: { stroke: colour("--faint"), width: 1 }, ticks: { stroke: colour("--line") }, font, labelFont: font };
    return [
      { ...common, label: labels[0], labelSize: 20 * scale, size: 34 * scale, values: (_, ticks) => ticks.map((one) => exact.format(one)) },
      { ...common, size: 52 * scale, values: (_, ticks) => ticks.map((one) => (format === plain && !Number.isInteger(one) ? "" : format.format(one))) },
    ];
  }

  const sizeOf = (box) => ({ width: Math.max(240, box.clientWidth), height: box.id === "costs" ? 12 * rem() : Math.max(220, Math.min(24 * rem(), window.innerHeight * 0.42)) });

  function mark(chart, name) {
    let one = chart.over.querySelector(`.mark.${name}`);
    if (!one) {
      one = document.createElement("div");
      one.className = `mark ${name}`;
      chart.over.append(one);
    }
    return one;
  }

  function putMark(chart, name, value) {
    const one = mark(chart, name);
    const left = value === null ? -1 : chart.valToPos(value, "x");
    one.hidden = value === null || left < -1 || left > chart.over.clientWidth + 1;
    one.style.left = `${left}px`;
  }

  function putMarks(chart) {
    putMark(chart, "force", inForce.threshold);
    putMark(chart, "calibrated", calibrated.threshold);
    const band = mark(chart, "band");
    band.hidden = place.review === null;
    if (place.review !== null) {
      const left = Math.max(0, chart.valToPos(place.review, "x"));
      const right = Math.min(chart.over.clientWidth, chart.valToPos(place.threshold, "x"));
      band.style.left = `${left}px`;
      band.style.width = `${Math.max(0, right - left)}px`;
    }
    putMark(chart, "review", place.review);
    putMark(chart, "here", place.threshold);
  }

  // Pointer and touch: the nearer of the two lines follows.
  function draggable(chart) {
    let moved = null;
    const valueAt = (event) => {
      const x = event.clientX - chart.over.getBoundingClientRect().left;
      return chart.posToVal(Math.min(chart.over.clientWidth, Math.max(0, x)), "x");
    };
    chart.over.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const grabbed = event.target.closest(".mark.here, .mark.review");
      const x = event.clientX - chart.over.getBoundingClientRect().left;
      const distance = (value) => (value === null ? Infinity : Math.abs(chart.valToPos(value, "x") - x));
      const nearer = distance(place.review) < distance(place.threshold) ? "review" : "threshold";
      if (grabbed || distance(place[nearer]) <= 22) {
        moved = grabbed && distance(place.review) > 22 ? "threshold" : nearer;
        chart.over.setPointerCapture(event.pointerId);
        event.preventDefault();
      }
    });
    chart.over.addEventListener("pointermove", (event) => {
      if (moved) move(moved, rounded(valueAt(event)));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      chart.over.addEventListener(end, () => { moved = null; });
    }
  }

  function histogram() {
    const box = el("histogram");
    const content = binned(box.clientWidth < 500 ? 32 : 64);
    const bars = uPlot.paths.bars({ size: [1, Infinity], gap: 1 });
    const series = [...KINDS].reverse().map((kind) => ({
      fill: colour(`--${PICTURE_KINDS[kind]}`), stroke: colour(`--${PICTURE_KINDS[kind]}`), width: 0, paths: bars, points: { show: false },
    }));
    const chart = new uPlot({
      ...sizeOf(box),
      padding: [14, 12, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: [view.low, view.high] }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.05)] } },
      axes: axes([bench.dataset.rawScore], plain),
      series: [{}, ...series],
    }, stacked(content), box);
    draggable(chart);
    return { chart, box, refresh: () => chart.setData(stacked(content)), move: () => putMarks(chart) };
  }

  function costChart() {
    const box = el("costs");
    const points = () => {
      const [xs, ys] = costCurve();
      return [xs, ys];
    };
    const chart = new uPlot({
      ...sizeOf(box),
      padding: [14, 12, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: [view.low, view.high] }, y: { range: (_, low, high) => [0, (high > 0 ? high * 1.08 : 1)] } },
      axes: axes([bench.dataset.rawScore], money),
      series: [{}, { stroke: colour("--accent"), width: 2, points: { show: false } }],
    }, points(), box);
    const refresh = () => {
      chart.setData(points());
      putMark(chart, "here", place.threshold);
      const dot = mark(chart, "least");
      putMark(chart, "least", least && least.threshold);
      if (least && !dot.hidden) dot.style.top = `${chart.valToPos(least.cost, "y")}px`;
    };
    return { chart, box, refresh, move: refresh };
  }

  function draw() {
    for (const one of charts.splice(0)) one.chart.destroy();
    charts.push(histogram(), costChart());
    // A chart lays itself out in a microtask.
    queueMicrotask(() => charts.forEach((one) => one.move()));
  }

  function writeBins() {
    const { bins, centres, width } = binned(24);
    const rows = centres.map((centre, i) => {
      const row = document.createElement("tr");
      const ends = `${exact.format(Number((centre - width / 2).toPrecision(4)))} – ${exact.format(Number((centre + width / 2).toPrecision(4)))}`;
      for (const text of [ends, ...KINDS.map((kind) => plain.format(bins[kind][i]))]) {
        const cell = document.createElement(row.children.length ? "td" : "th");
        if (cell.tagName === "TH") cell.scope = "row";
        cell.textContent = text;
        row.append(cell);
      }
      return row;
    });
    el("bins").replaceChildren(...rows);
  }

  // --- Moving the place ---------------------------------------------------------------------

  const sliders = [...document.querySelectorAll("[data-slider]")];
  const fields = [...document.querySelectorAll("[data-number]")];
  const rounded = (value) => Number((Math.round(value / view.step) * view.step).toPrecision(12));

  function showPlace(origin = null) {
    el("has-review").checked = place.review !== null;
    for (const one of [...sliders, ...fields]) {
      const name = one.dataset.slider ?? one.dataset.number;
      one.disabled = name === "review" && place.review === null;
      if (one !== origin) one.value = place[name] ?? "";
    }
    for (const one of sliders) {
      const value = place[one.dataset.slider];
      one.setAttribute("aria-valuetext", value === null ? "" : exact.format(value));
    }
    writeFigures();
    for (const one of charts) one.move();
  }

  // The other threshold gives way: review begins below the threshold.
  function move(name, value, origin = null) {
    if (!Number.isFinite(value)) return;
    if (name === "review" && place.review === null) return;
    place = { ...place, [name]: value };
    if (place.review !== null && place.review >= place.threshold) {
      if (name === "threshold") place.review = below(place.threshold);
      else place.threshold = above(place.review);
    }
    showPlace(origin);
  }

  const below = (value) => (rounded(value - view.step) < value ? rounded(value - view.step) : value - view.step);
  const above = (value) => (rounded(value + view.step) > value ? rounded(value + view.step) : value + view.step);

  function goTo(at) {
    place = { ...at };
    showPlace();
  }

  function listen() {
    for (const one of sliders) one.addEventListener("input", () => move(one.dataset.slider, rounded(Number(one.value)), one));
    for (const one of fields) {
      one.addEventListener("input", () => { if (one.value !== "") move(one.dataset.number, Number(one.value), one); });
      one.addEventListener("change", () => showPlace());
    }
    el("has-review").addEventListener("change", (event) => {
      const band = bandOf(inForce) ?? bandOf(calibrated) ?? (view.high - view.low) / 20;
      goTo({ threshold: place.threshold, review: event.target.checked ? below(place.threshold - band + view.step) : null });
    });
    el("to-force").addEventListener("click", () => goTo(inForce));
    el("to-calibrated").addEventListener("click", () => goTo(calibrated));
    el("to-least").addEventListener("click", () => { if (least) goTo(withBand(least.threshold, bandOf(place))); });
    for (const box of document.querySelectorAll("[data-kind]")) {
      box.addEventListener("change", () => { charts[0].refresh(); queueMicrotask(() => charts[0].move()); });
    }
    for (const field of costFields) {
      field.addEventListener("input", () => {
        try { localStorage.setItem(COSTS_KEY, JSON.stringify(costsGiven())); } catch { /* private browsing */ }
        showPlace(field);
      });
      // What does not count is not shown, either.
      field.addEventListener("change", () => { field.value = costsGiven()[field.dataset.costOf]; });
    }
    let resizing = 0;
    new ResizeObserver(() => {
      clearTimeout(resizing);
      resizing = setTimeout(() => { if (charts.some((one) => one.chart.width !== sizeOf(one.box).width)) draw(); }, 60);
    }).observe(el("histogram"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  function restoreCosts() {
    try {
      const kept = JSON.parse(localStorage.getItem(COSTS_KEY) ?? "{}");
      for (const field of costFields) {
        if (kept[field.dataset.costOf] >= 0 && kept[field.dataset.costOf] <= MOST_COST) field.value = kept[field.dataset.costOf];
      }
    } catch { /* none, or private browsing */ }
  }

  // --- Changing -----------------------------------------------------------------------------

  function dialog(openId, id, before) {
    const open = el(openId);
    const box = el(id);
    if (!open || !box) return;
    open.addEventListener("click", () => { before(); box.showModal(); });
    box.querySelector("[data-close]").addEventListener("click", () => box.close());
  }

  dialog("open-apply", "apply", () => {
    el("new-threshold").value = String(place.threshold);
    el("new-review").value = place.review === null ? "" : String(place.review);
  });
  dialog("open-restore", "restore", () => {});

  const period = el("w-period");
  const showOwn = () => {
    for (const one of document.querySelectorAll("[data-own]")) {
      one.hidden = period.value !== "own";
      one.querySelector("input").disabled = one.hidden;
    }
  };
  period.addEventListener("change", showOwn);
  showOwn();
  for (const one of document.querySelectorAll("[data-raw]")) one.textContent = exact.format(Number(one.dataset.raw));
  // A category has versions of its own: another one begins with its stable version.
  el("w-category").addEventListener("change", () => { el("w-model").disabled = true; });

  // --- Start --------------------------------------------------------------------------------

  async function start() {
    const answer = await fetch(bench.dataset.source, { headers: { Accept: "application/json" } });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.detail);
    data = taken(content);
    el("loading").hidden = true;
    el("bench").hidden = false;
    el("about").innerHTML = content.about; // drawn by the service, which escapes it
    if (!data.raw.length) {
      el("nothing").hidden = false;
      el("bench").classList.add("without");
      return;
    }
    view = viewOf(data.raw);
    for (const one of sliders) Object.assign(one, { min: rounded(view.low), max: rounded(view.high), step: view.step });
    for (const [kind, parts] of Object.entries(data.kinds)) write(`kind.${kind}`, plain.format(parts.length));
    for (const [key, count] of Object.entries(data.told)) {
      write(`told.${key}`, withShare(count));
    }
    el("told-undecided").hidden = !data.told.UNDECIDED;
    const beyond = notAbove(data.raw, view.low) + data.raw.length - notAbove(data.raw, view.high);
    el("beyond").hidden = !beyond;
    write("beyond", plain.format(beyond));
    restoreCosts();
    writeBins();
    listen();
    draw();
    showPlace();
    bench.dataset.ready = "true";
  }

  start().catch((error) => {
    el("loading").hidden = true;
    el("failed").hidden = false;
    write("problem", error.message);
  });
})();
