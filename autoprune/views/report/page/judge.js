// The front and the pick under any limits: the same rules as autoprune.fronts.front.Front, on the same numbers.

// A candidate is identified by its position n in the columns; the page shows its number.

const isNumber = (value) => value !== null && value !== undefined && !Number.isNaN(value);

// The lower end of a reading's interval, computed from its upper end as in Reading: latencies are symmetric as factors,
// other readings as differences.
function lowerEnd(reading, ratio, above) {
  return reading.startsWith("latency_ms") ? ratio * ratio / (ratio + above) : Math.max(0, ratio - above);
}

// Whether candidate n meets the limits, by the search ("found") or by the verification ("tested").
function holds(data, side, n, state) {
  for (const slider of data.sliders) {
    const limit = state.limits[slider.reading];
    if (!isNumber(limit)) continue;
    const value = data[side].ratio[slider.reading][n];
    if (!isNumber(value) || !(slider.ceiling ? value <= limit : value >= limit)) return false;
  }
  return data.fixed.every((item, at) => !state.fixed[at] || item[side][n] === "1");
}

// A reading of candidate n: the verified one if there is one.
function known(data, n, reading) {
  const tested = data.tested.ratio[reading][n];
  return isNumber(tested) ? tested : data.found.ratio[reading][n];
}

const isVerified = (data, n) => isNumber(data.tested.ratio.quality[n]);

// The values and bounds by which candidate n is compared, with signs such that less is better.
function compared(data, side, n) {
  return data[side].compare.map((column) => -column[n]);
}

// The number of the candidate at a position.
const numberOf = (data, n) => data.points.number[n];

// The candidates that no other beats; of equal ones the first.
function nondominated(data, side, numbers) {
  const places = new Map(numbers.map((n, at) => [n, [...compared(data, side, n), at]]));
  const order = (a, b) => {
    const [left, right] = [places.get(a), places.get(b)];
    for (let at = 0; at < left.length; at++) if (left[at] !== right[at]) return left[at] - right[at];
    return 0;
  };
  // In this order no candidate is beaten by a later one.
  const kept = [];
  for (const n of [...numbers].sort(order)) {
    const mine = places.get(n);
    if (!kept.some((k) => data[side].compare.every((_, at) => places.get(k)[at] <= mine[at]))) kept.push(n);
  }
  return kept;
}

// feasible, searched, falls and front as in Front; pick is null if nothing fits. State: limits by reading (ratios),
// fixed (which requirements without a slider count), prefer.
function judge(data, state) {
  const count = data.points.summary.length;
  const measured = (side, n) => data[side].compare.every((column) => isNumber(column[n]));
  const byQuality = (a, b) => known(data, b, "quality") - known(data, a, "quality") || a - b;
  const feasible = [];
  for (let n = 0; n < count; n++) {
    if (!data.points.rejected[n] && measured("found", n) && holds(data, "found", n, state)) feasible.push(n);
  }
  const searched = nondominated(data, "found", feasible).sort(byQuality);
  // The verified front: candidates that hold and that no other beats. The rest of the search's front has fallen.
  const held = feasible.filter((n) => isVerified(data, n) && measured("tested", n) && holds(data, "tested", n, state));
  const best = nondominated(data, "tested", held);
  const falls = searched.filter((n) => n && isVerified(data, n) && !best.includes(n));
  const front = [...best, ...searched.filter((n) => !isVerified(data, n))].sort(byQuality);

  const [reading, larger] = data.readings[state.prefer];
  let candidates = feasible.filter((n) => isNumber(data.found.ratio[reading][n]))
    .filter((n) => !isVerified(data, n) || holds(data, "tested", n, state));
  if (searched.length && searched.every((n) => isVerified(data, n))) {
    candidates = candidates.filter((n) => isVerified(data, n));
  }
  let pick = null;
  for (const n of candidates) {
    if (pick === null) { pick = n; continue; }
    const by = (known(data, n, reading) - known(data, pick, reading)) * (larger ? -1 : 1);
    if (by < 0 || (by === 0 && known(data, n, "quality") > known(data, pick, "quality"))) pick = n;
  }
  return { feasible, searched, falls, front, pick };
}

// The sliders whose limits candidate n misses, with the missing share of each limit; null: not measured.
function misses(data, side, n, state) {
  const found = [];
  for (const slider of data.sliders) {
    const limit = state.limits[slider.reading], value = data[side].ratio[slider.reading][n];
    if (!isNumber(limit)) continue;
    const by = isNumber(value) ? (slider.ceiling ? value - limit : limit - value) / limit : null;
    if (by === null || by > 0) found.push([slider, by]);
  }
  return found;
}

// The candidate, not rejected, that misses the limits by least.
function nearest(data, state) {
  let best = null;
  data.points.summary.forEach((_, n) => {
    if (data.points.rejected[n]) return;
    const by = Math.max(0, ...misses(data, "found", n, state).map((pair) => pair[1]))
      + data.fixed.filter((item, at) => state.fixed[at] && item.found[n] !== "1").length;
    if (!best || by < best[1]) best = [n, by];
  });
  return best[0];
}

// The layer of every candidate, as in autoprune.views.layers.
function layersOf(data, judged) {
  const [front, fallen, feasible] = [judged.front, judged.falls, judged.feasible].map((list) => new Set(list));
  return data.points.summary.map((_, n) => {
    if (data.points.rejected[n] || !isNumber(data.found.ratio.quality[n])) return "rejected";
    if (!n) return "baseline";
    if (fallen.has(n)) return "fell";
    if (front.has(n)) return "front";
    if (data.points.name[n] !== "trial") return "presets";
    return feasible.has(n) ? "feasible" : "infeasible";
  });
}
