// One candidate in full, and the list of candidates. Texts of the study are only ever set as text, never as HTML.

// An element: made("td", {class: "x"}, "text", child, …).
function made(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const GAP = "\u00a0";  // a no-break space
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits).replace("-", "−")}${GAP}%`;

// A missed limit, and the missing share of it; null: not measured.
const missed = (name, by) => by === null ? `${name} is not measured` : `${name} misses its limit by ${percent(by)} of it`;
const signed = (share) => `${share >= 0 ? "+" : ""}${percent(share)}`;

function bytes(count) {
  for (const unit of ["B", "kB", "MB"]) {
    if (count < 1000) return `${Number(count.toPrecision(3))}${GAP}${unit}`;
    count /= 1000;
  }
  return `${Number(count.toPrecision(3))}${GAP}GB`;
}

function inUnit(reading, value) {
  if (!isNumber(value)) return "–";
  if (reading.endsWith("_bytes")) return bytes(value);
  return reading.startsWith("latency_ms") ? `${value.toFixed(3)}${GAP}ms` : value.toFixed(4);
}

// A command with a button that copies it.
function commandLine(text) {
  const button = made("button", { type: "button", class: "copy", "aria-label": `Copy: ${text}` }, "copy");
  button.addEventListener("click", () => {
    const area = made("textarea", {}, text);  // the clipboard API does not exist under file://
    document.body.append(area);
    area.select();
    button.textContent = document.execCommand("copy") ? "copied" : "select it";
    area.remove();
    button.focus();
  });
  return made("span", { class: "command" }, made("code", {}, text), button);
}

function recipeLines(recipe, depth = 0) {
  return Object.entries(recipe).map(([key, value]) => {
    const nested = value !== null && typeof value === "object" && !Array.isArray(value);
    const head = `${"  ".repeat(depth)}${key}: ${nested ? "" : JSON.stringify(value).replace(/^"(.*)"$/, "$1")}`;
    return nested ? `${head.trimEnd()}\n${recipeLines(value, depth + 1)}` : `${head}\n`;
  }).join("");
}

// A bar from the baseline (the middle) to the ratio; losses go to the left.
function bar(ratio) {
  const share = Math.max(-1, Math.min(1, (ratio - 1) / 0.3));
  const style = share < 0 ? `left:${50 + 50 * share}%;width:${-50 * share}%` : `left:50%;width:${50 * share}%`;
  return made("span", { class: "bar", "aria-hidden": "true" }, made("span", { class: share < 0 ? "lost" : "won", style }));
}

function ratioCell(side, reading, n) {
  const ratio = side.ratio[reading]?.[n], above = side.above[reading]?.[n];
  if (!isNumber(ratio)) return made("td", {}, "–");
  if (side.vague[reading].includes(n)) return made("td", {}, times(ratio), made("span", { class: "interval" }, ` ±?`));
  return made("td", {}, times(ratio), above
    ? made("span", { class: "interval" }, ` ${lowerEnd(reading, ratio, above).toFixed(3)} to ${(ratio + above).toFixed(3)}`) : null);
}

function readingRow(data, n, reading, slice) {
  const shown = isNumber(data.tested.ratio[reading]?.[n]) ? "tested" : "found", side = data[shown];
  const ratio = side.ratio[reading]?.[n];
  const label = reading === "quality" ? `quality (${data.metric})` : reading;
  const loose = slice?.loose[shown];
  // The search's column also holds the verified value of a latency that the search did not time.
  const timed = !reading.startsWith("latency_ms") || data.found.ratio[reading]?.[n] !== data.tested.ratio[reading]?.[n];
  return made("tr", { class: loose ? "loose" : null },
    made("th", { scope: "row" }, label),
    ratioCell(data.tested, reading, n), timed ? ratioCell(data.found, reading, n) : made("td", {}, "–"),
    made("td", {}, inUnit(reading, isNumber(ratio) ? ratio * side.baseline[reading] : null)),
    made("td", {}, slice && isNumber(ratio) ? bar(ratio) : null, slice ? made("small", {}, loose ? `does not bind, ${loose}` : "binds") : null));
}

function readingTable(data, n) {
  const slices = new Map(data.slices.map((slice) => [slice.reading, slice]));
  const names = Object.keys(data.found.ratio).filter((name) => isNumber(data.found.ratio[name][n]) || isNumber(data.tested.ratio[name][n]));
  const main = names.filter((name) => ["quality", "worst_slice", ...data.metrics].includes(name) || /^(size|memory)_bytes|^latency_ms/.test(name));
  const rest = names.filter((name) => !main.includes(name) && !slices.has(name));
  const head = () => made("thead", {}, made("tr", {}, ...["reading", "test / verified", "validation", "value", ""].map((word) => made("th", { scope: "col" }, word))));
  const table = (rows) => made("div", { class: "scroll" }, made("table", {}, head(), made("tbody", {}, ...rows)));
  const tables = [table(main.map((name) => readingRow(data, n, name)))];
  if (names.some((name) => slices.has(name))) {
    tables.push(made("h3", {}, `Slices and perturbations of ${data.metric} against the baseline`));
    tables.push(table(names.filter((name) => slices.has(name)).map((name) => readingRow(data, n, name, slices.get(name)))));
  }
  if (rest.length) tables.push(made("details", {}, made("summary", {}, `${rest.length} more readings`), table(rest.map((name) => readingRow(data, n, name)))));
  return tables;
}

// The loss on a slice too faint to bind, if it is larger than on every slice that binds.
function ruined(data, n, start = "It ") {
  const beyond = data.beyond[n];
  return beyond.length ? `${start}keeps ${times(beyond[1])} of ${beyond[0]}, which is too faint to bind.` : "";
}

// Why a candidate is in its layer, in a sentence.
function standing(data, state, judged, layer, n) {
  if (layer === "rejected") return `Rejected: ${data.points.rejected[n] || "no quality was measured"}.`;
  const missedOn = (side) => [
    ...misses(data, side, n, state).map(([slider, by]) => missed(slider.label, by)),
    ...data.fixed.filter((item, at) => state.fixed[at] && item[side][n] !== "1").map((item) => `misses ${item.text}`)];
  if (layer === "fell") return `Fell when verified: ${missedOn("tested").join(", ") || "another verified candidate beats it"}.`;
  const short = missedOn("found");
  if (short.length) return `Does not meet the limits: ${short.join(", ")}.`;
  const on = judged.front.includes(n) ? "On the front." : "Meets the limits, but another candidate beats it.";
  const late = isVerified(data, n) ? missedOn("tested") : [];
  return late.length ? `${on} On test data: ${late.join(", ")}.` : on;
}

function showDetails(place, data, state, judged, layers, n) {
  const letters = data.letters[n];
  const preset = data.points.name[n] === "trial" ? "" : ` (${data.points.name[n]})`;
  place.replaceChildren(
    made("h3", {}, `#${numberOf(data, n)}${preset}`), made("p", { class: "summary" }, data.points.summary[n]),
    made("p", {}, made("span", { class: `badge ${layers[n]}` }, layers[n]), " ", standing(data, state, judged, layers[n], n),
      letters ? ` Letters in quality: ${letters}.` : "", ruined(data, n, " It ")),
    ...readingTable(data, n),
    made("p", { class: "note" }, `Ratios are to the baseline, which is the middle of each bar (its ends: ±30${GAP}%). Grey: the interval of 95 of 100 re-measurements; ±? is so wide that it says nothing.`
      + (data.points.folder[n] ? ` size_bytes is the size of the model; ${data.points.folder[n]}.` : "")),
    made("h3", {}, "Recipe"), made("pre", {}, n ? recipeLines(data.points.recipe[n]) : "the dense model"),
    made("h3", {}, "Commands"),
    ...[["ship it", data.commands.pick], ["show it", data.commands.show], ["repeat it", data.points.command[n]]]
      .filter((pair, at) => at || layers[n] !== "rejected")
      .map(([word, line]) => made("p", { class: "again" }, `${word}: `, commandLine(numbered(data, line, n)))));
}

// A command for a candidate, with its number filled in if there is a placeholder.
const numbered = (data, line, n) => line.replace("{number}", numberOf(data, n));

// The numbers come first, so that a narrow screen shows them without scrolling.
function listRow(data, layers, pick, n) {
  const unsure = isVerified(data, n) || layers[n] === "rejected" ? "" : "?";
  const cells = [`#${numberOf(data, n)}`, times(known(data, n, "quality")) + unsure,
    ...data.sliders.filter((one) => one.ceiling).map((one) => times(known(data, n, one.reading))),
    times(known(data, n, "worst_slice")) + (data.beyond[n].length ? "*" : ""), data.letters[n] || "",
    n === pick ? `${layers[n]}, pick` : layers[n], data.points.summary[n]];
  return made("tr", { "data-number": n, tabindex: "-1", "aria-selected": "false" }, ...cells.map((text) => made("td", { role: "gridcell" }, text)));
}

function showList(table, data, layers, pick, numbers) {
  const names = ["#", "quality", ...data.sliders.filter((one) => one.ceiling).map((one) => one.label), "worst slice", "≈", "", "recipe"];
  table.tHead.replaceChildren(made("tr", {}, ...names.map((name) => made("th", { scope: "col", role: "columnheader" }, name))));
  table.tBodies[0].replaceChildren(...numbers.map((n) => listRow(data, layers, pick, n)));
}
