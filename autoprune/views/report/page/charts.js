// The plots: the figures of autoprune.views.plots, filled with the candidates of each layer, in the colours of the theme.

const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const times = (ratio) => (isNumber(ratio) ? `${ratio.toFixed(3)}x` : "–");

// A long text, broken into lines for a tooltip.
function broken(text) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1).length + word.length > 60) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines.map(escaped).join("<br>");
}

function tooltip(data, n, cost) {
  const split = isVerified(data, n) ? "test" : "validation";
  const quality = data.points.rejected[n]
    ? `rejected: ${escaped(data.points.rejected[n])}`
    : `quality ${times(known(data, n, "quality"))}, worst slice ${times(known(data, n, "worst_slice"))} (${split})`;
  const costs = data.sliders.filter((one) => one.ceiling)
    .map((one) => `${escaped(one.label)} ${times(known(data, n, one.reading))}`);
  return [`<b>#${numberOf(data, n)}</b> ${broken(data.points.summary[n])}`, quality, costs.join(", ")].join("<br>");
}

// The trace of a layer, filled with these candidates; no bar goes below `least` in cost, or below 0 in quality.
function filled(data, trace, numbers, cost, front0, least) {
  const { layer, kind, mark, hollow } = trace.meta;
  if (layer === "looks") return trace;  // looks do not depend on the limits
  const place = (n) => [known(data, n, cost), known(data, n, "quality")];
  if (kind === "line" && layer === "front") {
    // The steps of the front in this plot: from left to right, only points that are better than all before.
    const steps = [];
    for (const [x, y] of [...numbers, ...front0].map(place).sort((a, b) => a[0] - b[0] || b[1] - a[1])) {
      if (!steps.length || y > steps.at(-1)[1]) steps.push([x, y]);
    }
    return { ...trace, x: steps.map((step) => step[0]), y: steps.map((step) => step[1]) };
  }
  if (kind === "line") {
    const ends = numbers.map((n) => [[data.found.ratio[cost][n], data.found.ratio.quality[n]], place(n), [null, null]]).flat();
    return { ...trace, x: ends.map((end) => end[0]), y: ends.map((end) => end[1]) };
  }
  const bars = (reading, least) => {
    const array = numbers.map((n) => (isNumber(data.tested.ratio[reading][n]) ? data.tested.above[reading][n] || 0 : 0));
    const arrayminus = array.map((above, at) => {
      const ratio = known(data, numbers[at], reading);
      return above ? Math.max(0, ratio - Math.max(least, lowerEnd(reading, ratio, above))) : 0;
    });
    return { type: "data", symmetric: false, array, arrayminus, thickness: 1, width: 2, visible: array.some((above) => above > 0) };
  };
  return {
    ...trace,
    x: numbers.map((n) => known(data, n, cost)),
    y: numbers.map((n) => (layer === "rejected" ? 0 : known(data, n, "quality"))),
    customdata: numbers,
    text: numbers.map((n) => tooltip(data, n, cost)),
    marker: { ...trace.marker, symbol: numbers.map((n) => (hollow && !isVerified(data, n) ? `${mark}-open` : mark)) },
    error_x: bars(cost, least),
    error_y: layer === "rejected" ? { visible: false } : bars("quality", 0),
  };
}

const ring = (data, n, cost, colour, size, dash) => ({
  x: [known(data, n, cost)], y: [known(data, n, "quality")], mode: "markers", hoverinfo: "skip", showlegend: false,
  marker: { symbol: dash ? "square-open" : "circle-open", size, color: colour, line: { width: 3, color: colour } },
});

// The range of the quality axis; it cuts off candidates far below the front.
function frame(data, layers) {
  const values = [], every = [], tops = [];
  layers.forEach((layer, n) => {
    if (layer === "rejected") return;
    const value = known(data, n, "quality"), above = data.tested.above.quality[n] || 0;
    every.push(value);
    tops.push(value + above);
    if (layer !== "feasible" && layer !== "infeasible") values.push(lowerEnd("quality", value, above), value + above);
  });
  const low = Math.min(...values), high = Math.max(...values);
  const margin = 0.05 * Math.max(0.1, high - low), lower = low - margin;
  return { range: [lower, Math.max(high, ...tops) + margin], below: every.filter((value) => value < lower).length };
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { ink: colour("--ink"), soft: colour("--soft"), grid: colour("--grid"), box: colour("--box"), pick: colour("--pick") };
}

// The layout of the figure in the colours of the page.
function themed(layout) {
  const { ink, soft, grid, box } = theme();
  const axes = {};
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    axes[name] = { gridcolor: grid, linecolor: grid, ...layout[name] };
  }
  return {
    ...layout, ...axes, font: { ...layout.font, color: ink }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { ...layout.hoverlabel, bgcolor: box, bordercolor: ink, font: { color: ink } }, uirevision: "kept",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink },
  };
}

// On a narrow screen there is no room for plotly's buttons beside the title.
const OPTIONS = { responsive: true, displayModeBar: innerWidth > 640 ? "hover" : false, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };

// Draws quality against a cost, without hidden layers, with rings around the pick and the chosen candidate.
function drawTradeoff(place, data, cost, judged, layers, hidden, chosen) {
  const figure = data.figures.tradeoff[cost], { ink, pick } = theme();
  const members = {};
  layers.forEach((layer, n) => { if (isNumber(known(data, n, cost))) (members[layer] ||= []).push(n); });
  const front0 = judged.front.includes(0) ? [0] : [];
  const { type, range: ends } = figure.layout.xaxis, least = type === "log" ? 10 ** ends[0] : 0;
  const traces = figure.data.map((trace) => {
    const made = filled(data, trace, members[trace.meta.layer] || [], cost, front0, least);
    if (trace.meta.layer === "baseline") made.marker = { ...made.marker, color: ink, line: { width: 1.6, color: ink } };
    return { ...made, visible: !hidden.has(trace.meta.layer) };
  });
  if (judged.pick !== null) traces.push(ring(data, judged.pick, cost, pick, 19));
  if (chosen !== null && layers[chosen] !== "rejected") traces.push(ring(data, chosen, cost, ink, 24, true));
  const { range, below } = frame(data, layers);
  const layout = themed({ ...figure.layout, showlegend: false, yaxis: { ...figure.layout.yaxis, range } });
  layout.shapes = (figure.layout.shapes || []);
  // A new range resets the zoom; the same range keeps it.
  layout.yaxis.uirevision = range.join();
  const note = (text, y) => ({ text, x: 0, xref: "paper", y, yref: "paper", showarrow: false, xanchor: "left", font: { size: 11 } });
  layout.annotations = below ? [note(`${below} more below: double-click shows all`, figure.layout.yaxis.domain[0] + 0.01)] : [];
  layout.annotations.forEach((one) => { one.yanchor = "bottom"; });
  if (members.rejected && !hidden.has("rejected")) layout.annotations.push({ ...note("rejected", 0.03), bgcolor: theme().box });
  return Plotly.react(place, traces, layout, OPTIONS);
}

// Draws a figure without its title, because the page has a heading for it.
function drawPlain(place, figure) {
  const layout = themed({ ...figure.layout, title: undefined, margin: { ...figure.layout.margin, t: figure.layout.xaxis.side === "top" ? 90 : 24 } });
  if (layout.height) place.style.height = `${layout.height}px`;
  return Plotly.react(place, figure.data, layout, OPTIONS);
}
