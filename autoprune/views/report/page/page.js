// Connects the page: after every change of the limits, candidates are judged, drawn, announced and listed.

const byId = (id) => document.getElementById(id);
const PAGE = 100;  // rows of the list that are shown at a time
const SETTLED = 140;  // milliseconds without a change before the plots are drawn again

// The text of a packed element: gzip in base64, which the browser decompresses.
async function unpacked(id) {
  const packed = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

let data, judged, layers, drawing, rows = PAGE, chosen = null;
const state = { limits: {}, fixed: [], prefer: "size" };
const hidden = new Set();
const drawn = { count: 0 };  // how often the plots were drawn

const workload = () => byId("workload").value;

function draw() {
  drawTradeoff("plot-size", data, "size_bytes", judged, layers, hidden, chosen);
  if (workload()) drawTradeoff("plot-latency", data, workload(), judged, layers, hidden, chosen);
  drawn.count += 1;
}

function drawSoon() {
  clearTimeout(drawing);
  drawing = setTimeout(draw, SETTLED);
}

function listed() {
  const which = byId("which").value;
  const order = (n) => -(known(data, n, "quality") ?? -1);
  const kept = data.points.summary.map((_, n) => n).filter((n) => which === "all"
    || (which === "feasible" ? judged.feasible.includes(n) : n === judged.pick || ["front", "baseline", "presets", "fell"].includes(layers[n])));
  return kept.sort((a, b) => order(a) - order(b) || a - b);
}

function drawList() {
  const numbers = listed();
  showList(byId("list"), data, layers, judged.pick, numbers.slice(0, rows));
  byId("more").hidden = numbers.length <= rows;
  byId("more").textContent = `show more of ${numbers.length}`;
  markRow(false);
}

// Only the chosen row can be reached by Tab; arrow keys move from there.
function markRow(focus) {
  const all = [...byId("list").tBodies[0].rows];
  const row = all.find((one) => Number(one.dataset.number) === chosen) || all[0];
  all.forEach((one) => {
    one.tabIndex = one === row ? 0 : -1;
    one.setAttribute("aria-selected", String(Number(one.dataset.number) === chosen));
  });
  if (focus && row) row.focus();
}

function choose(n, go = false) {
  chosen = n;
  showDetails(byId("detail"), data, state, judged, layers, n);
  markRow(false);
  drawSoon();
  if (go) {
    byId("details").focus({ preventScroll: true });
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId("details").scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
  }
}

// The flags of a command line for the current settings of the page.
function flags() {
  const limits = data.sliders.filter((one) => isNumber(state.limits[one.reading]))
    .map((one) => ` --${one.ceiling ? "max" : "floor"} ${one.reading}=${state.limits[one.reading]}x`);
  const fixed = data.fixed.filter((_, at) => state.fixed[at]).map((item) => ` ${item.flag}`);
  return `${limits.join("")}${fixed.join("")} --prefer ${state.prefer}`;
}

function announce() {
  const place = byId("pick"), n = judged.pick;
  const again = made("p", { class: "again" }, "Repeat this view: ", commandLine(data.commands.limits.replace("{limits}", flags())));
  place.classList.toggle("pick", n !== null);
  if (n === null) {
    const near = nearest(data, state), button = link(data, near, choose);
    const short = misses(data, "found", near, state).map(([slider, by]) => missed(slider.label, by)).join(", ");
    place.replaceChildren(made("h3", {}, "No pick"), made("p", {}, `No candidate of ${data.infeasible.candidates} meets these limits. Nearest: `,
      button, short ? `; ${short}.` : "."), again);
    return;
  }
  const facts = data.sliders.map((one) => made("div", {}, made("dt", {}, one.label), made("dd", {}, times(known(data, n, one.reading)))));
  const tested = isVerified(data, n), size = data.found.ratio.size_bytes[n] * data.found.baseline.size_bytes;
  place.replaceChildren(
    made("h3", {}, "Pick ", link(data, n, choose), n ? "" : " (the dense model itself)"), made("p", { class: "summary" }, data.points.summary[n]),
    made("dl", {}, ...facts),
    made("p", {}, `${bytes(size)}. Quality on ${tested ? "test data (verified)" : "validation data, not verified"}. `
      + `Besides the dense model, ${judged.feasible.filter((one) => one).length} of ${data.points.summary.length - 1} meet these limits, ${counted(judged.front.filter((one) => one).length, "is", "are")} on the front. ${ruined(data, n)}`),
    made("p", { class: "again" }, "Ship it: ", commandLine(numbered(data, data.commands.pick, n))), again);
}

// Updates the page after a change of the limits.
function follow() {
  judged = judge(data, state);
  layers = layersOf(data, judged);
  announce();
  showCounts();
  drawList();
  if (chosen !== null) showDetails(byId("detail"), data, state, judged, layers, chosen);
  drawSoon();
}

function setLimit(slider, value) {
  state.limits[slider.reading] = isNumber(value) ? value : null;
  showLimit(slider);
}

function showLimit(slider) {
  const value = state.limits[slider.reading], off = slider.ceiling ? slider.max : slider.min;
  byId(`range-${slider.reading}`).value = isNumber(value) ? value : off;
  byId(`range-${slider.reading}`).setAttribute("aria-valuetext", isNumber(value) ? `${value} times the baseline` : "no limit");
  byId(`limit-${slider.reading}`).value = isNumber(value) ? value : "";
}

function makeSlider(slider) {
  const ends = { min: slider.min, max: slider.max };
  const range = made("input", { type: "range", id: `range-${slider.reading}`, step: "0.001", ...ends, "aria-label": slider.label });
  const number = made("input", { type: "number", id: `limit-${slider.reading}`, step: "any", min: "0", placeholder: "off", "aria-label": `${slider.label}, times the baseline` });
  range.addEventListener("input", () => {
    // At its loosest end a slider sets no limit.
    const value = Number(range.value), off = slider.ceiling ? value >= slider.max : value <= slider.min;
    setLimit(slider, off ? null : value);
    changed();
  });
  number.addEventListener("input", () => {
    // An invalid limit (-1, 0, half a number) keeps the last one, which is shown again when the box is left.
    if (number.validity.badInput || (number.value !== "" && !(Number(number.value) > 0))) return;
    const value = number.value === "" ? null : Number(number.value);
    state.limits[slider.reading] = value;
    range.value = value ?? (slider.ceiling ? slider.max : slider.min);
    changed();
  });
  number.addEventListener("change", () => showLimit(slider));
  return made("div", { class: "slider" }, made("label", { for: range.id }, `${slider.label} ${slider.ceiling ? "≤" : "≥"}`), range, number, made("span", {}, "×"));
}

function changed() {
  markProfile(null);
  follow();
}

function markProfile(name) {
  for (const button of byId("profiles").children) button.setAttribute("aria-pressed", String(button.dataset.profile === name));
}

function setProfile(profile) {
  data.sliders.forEach((slider) => setLimit(slider, profile.limits[slider.reading] ?? null));
  state.fixed = data.fixed.map((_, at) => profile.fixed.includes(at));
  state.prefer = profile.prefer;
  byId("fixed").querySelectorAll("input").forEach((box, at) => { box.checked = state.fixed[at]; });
  byId("prefer").querySelectorAll("input").forEach((radio) => { radio.checked = radio.value === state.prefer; });
  markProfile(profile.name);
}

function makeChoices() {
  byId("sliders").append(...data.sliders.map(makeSlider));
  data.fixed.forEach((item, at) => {
    const box = made("input", { type: "checkbox" });
    box.addEventListener("change", () => { state.fixed[at] = box.checked; changed(); });
    byId("fixed").append(made("label", {}, box, ` ${item.text}`));
  });
  for (const name of Object.keys(data.readings).filter((one) => data.found.ratio[data.readings[one][0]])) {
    const radio = made("input", { type: "radio", name: "prefer", value: name });
    radio.addEventListener("change", () => { state.prefer = name; changed(); });
    byId("prefer").append(made("label", {}, radio, ` ${name}`));
  }
  for (const profile of data.profiles) {
    const button = made("button", { type: "button", "data-profile": profile.name, title: profile.text }, profile.name);
    button.addEventListener("click", () => { setProfile(profile); follow(); });
    byId("profiles").append(button);
  }
  byId("limits").addEventListener("submit", (event) => event.preventDefault());
}

// The marks of the plots as characters: layers differ in shape as well as in colour.
const MARKS = {
  looks: "·", front: "●", baseline: "◆", presets: "■", feasible: "●", infeasible: "×", rejected: "|", fell: "▼",
};

function makeLayers() {
  const traces = data.figures.tradeoff.size_bytes.data.filter((trace) => trace.meta.kind === "points").reverse();
  for (const trace of traces) {
    const { layer } = trace.meta, box = made("input", { type: "checkbox", value: layer });
    box.checked = true;
    box.addEventListener("change", () => { hidden[box.checked ? "delete" : "add"](layer); drawSoon(); });
    byId("layers").append(made("label", {}, box, made("span", { class: `mark ${layer}`, "aria-hidden": "true" }, MARKS[layer]), ` ${trace.name} `, made("small", { "data-count": layer })));
  }
}

function showCounts() {
  const counts = {};
  layers.forEach((layer) => { counts[layer] = (counts[layer] || 0) + 1; });
  counts.looks = data.looks.count;
  for (const place of byId("layers").querySelectorAll("[data-count]")) place.textContent = `(${counts[place.dataset.count] || 0})`;
}

function makeList() {
  const body = byId("list").tBodies[0];
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) choose(Number(row.dataset.number));
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr"), all = [...body.rows], at = all.indexOf(row);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(Number(row.dataset.number), event.key === "Enter");
    else if (to === undefined) return;
    else all[Math.max(0, Math.min(all.length - 1, to))].focus();
    event.preventDefault();
  });
  byId("which").addEventListener("change", () => { rows = PAGE; drawList(); });
  byId("more").addEventListener("click", () => { rows += PAGE; drawList(); });
  byId("number").addEventListener("change", () => {
    const n = data.points.number.indexOf(Number(byId("number").value));
    if (byId("number").value !== "" && n >= 0) choose(n);
  });
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  draw();
  drawOthers();
}

function drawOthers() {
  const { slices, mattered, progress } = data.figures;
  drawPlain(byId("plot-slices"), slices);
  if (mattered) drawPlain(byId("plot-mattered"), mattered);
  const over = document.querySelector("input[name=over]:checked").value, [trace] = progress.data;
  const seconds = over === "seconds";
  const xaxis = { ...progress.layout.xaxis, title: { text: seconds ? "seconds of work" : "candidates" } };
  drawPlain(byId("plot-progress"), { data: [{ ...trace, x: seconds ? trace.customdata : trace.x }], layout: { ...progress.layout, xaxis } });
}

async function start() {
  data = JSON.parse(await unpacked("data"));
  const plotly = made("script");
  plotly.textContent = await unpacked("plotly");
  document.head.append(plotly);
  document.querySelector("main").hidden = false;
  const workloads = data.sliders.filter((one) => one.reading.startsWith("latency_ms."));
  byId("workload").append(...workloads.map((one) => made("option", { value: one.reading }, one.reading.slice("latency_ms.".length))));
  byId("workload-choice").hidden = workloads.length < 2;
  byId("plot-latency").parentElement.hidden = !workloads.length;
  byId("workload").addEventListener("change", draw);
  makeChoices();
  makeLayers();
  makeList();
  showState(byId("state"), data);
  showVerification(byId("verification").querySelector("div"), data, choose);
  showInfeasible(byId("infeasible"), data, choose);
  showMachines(byId("machines").querySelector("div"), data);
  byId("slices-note").textContent = slicesNote(data);
  byId("looks-note").textContent = looksNote(data);
  if (!data.figures.mattered) byId("plot-mattered").replaceWith(made("p", {}, "Too few recipes to tell."));
  document.querySelectorAll("input[name=over]").forEach((radio) => radio.addEventListener("change", drawOthers));
  setProfile(data.profiles[0]);
  follow();
  clearTimeout(drawing);
  draw();
  drawOthers();
  showAgain(data);
  for (const id of ["plot-size", "plot-latency"]) {
    byId(id).on?.("plotly_click", (event) => {
      const n = event.points[0]?.customdata;
      if (isNumber(n)) choose(n, true);
    });
  }
  choose(judged.pick ?? nearest(data, state));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const other = () => ({ light: "dark", dark: "light" })[document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")];
  byId("theme").addEventListener("click", () => setTheme(other()));
  dark.addEventListener("change", () => { draw(); drawOthers(); });
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  byId("failure").hidden = false;
  byId("failure").textContent = `The page could not be shown (${error}). It needs a browser from 2023 or later.`;
  console.error(error);
});
