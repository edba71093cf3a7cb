// The static sections: verification, machines, missed requirements, commands.

const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;

function table(head, rows) {
  return made("div", { class: "scroll" }, made("table", {},
    made("thead", {}, made("tr", {}, ...head.map((word) => made("th", { scope: "col" }, word)))),
    made("tbody", {}, ...rows.map((row) => made("tr", {}, ...row.map((cell) => made("td", {}, cell)))))));
}

// A button with the number of a candidate that shows the candidate.
function link(data, n, choose) {
  const button = made("button", { type: "button", class: "link" }, `#${numberOf(data, n)}`);
  button.addEventListener("click", () => choose(n, true));
  return button;
}

function showState(place, data) {
  if (data.infeasible.empty) return;  // then there is nothing to verify
  place.textContent = data.verified
    ? "The front was verified: its values are on test data, which the search never saw."
    : "Not all of the front is verified. Values on validation data look too good, because the search selected by them. "
      + "Verify before you ship: ";
  if (!data.verified) place.append(commandLine(data.commands.verify));
}

function showVerification(place, data, choose) {
  const { falls } = data;
  if (!falls.of) {
    place.append(made("p", {}, "Nothing on the search's front was verified yet, except the baseline."));
    return;
  }
  place.append(made("p", {}, made("strong", {}, `${falls.count} of ${falls.of} of the search's front fell`),
    `: they missed a limit on test data, or were beaten there. From validation to test, the ${data.metric} of the front `
    + `changed by ${signed(falls.median)} of the baseline's in the median, ${signed(falls.worst)} at worst.`));
  if (data.optimism) place.append(made("p", {}, data.optimism));
  if (falls.list.length) {
    place.append(table(["fell", "recipe", "validation", "test", "why"], falls.list.map(([n, why]) => [
      link(data, n, choose), data.points.summary[n], times(data.found.ratio.quality[n]), times(data.tested.ratio.quality[n]), why])));
    if (falls.list.length < falls.count) place.append(made("p", { class: "note" }, `The first ${falls.list.length} of ${falls.count}.`));
  }
}

function showInfeasible(section, data, choose) {
  const found = data.infeasible, place = section.querySelector("div");
  if (!found.missed.length && !found.unmeasured.length) {
    section.hidden = true;
    return;
  }
  if (found.empty) {
    section.querySelector("h2").textContent = "Why nothing is feasible";
    byId("choose").after(section);  // then this section matters most
  }
  place.append(made("p", {}, found.empty ? made("strong", {}, `No candidate of ${found.candidates} meets every requirement. `) : null,
    `Under the limits of this report, by the search's measurements; ${found.rejected} of ${found.candidates} ${found.rejected === 1 ? "was" : "were"} rejected early.`));
  if (found.missed.length) place.append(table(["requirement", "missed by", "at best by", "in the median by"], found.missed.map(([text, count, least, median]) => [
    text, `${count} of ${found.candidates}`, `${percent(least)} of the limit`, percent(median)])));
  for (const [name, count, command] of found.unmeasured) {
    place.append(made("p", {}, `${name} is not measured for ${count} of ${found.candidates}; to measure it: `, commandLine(command)));
  }
  if (!found.empty) return;
  place.append(made("h3", {}, "Nearest misses"), table(["", "recipe", "misses"], found.nearest.map(([n, short]) => [
    link(data, n, choose), data.points.summary[n], short.map(([text, by]) => by === null ? `${text} is not measured` : `${text} by ${percent(by)}`).join(", ")])));
  if (found.loosenings.length) {
    place.append(made("h3", {}, "One of these alone would make something feasible"), table(["write", "instead of", "then"],
      found.loosenings.map(([command, text, n]) => [commandLine(command), text, link(data, n, choose)])));
  } else if (found.together.length) {
    place.append(made("p", {}, "No single change is enough; together these would be: ", commandLine(found.together)));
  }
}

function showMachines(place, data) {
  const names = [...new Set(data.machines.flatMap((one) => Object.keys(one.facts)))].filter((name) => name !== "id");
  place.append(table(["fingerprint", "measured", ...names], data.machines.map((one) => [
    one.id, Object.entries(one.counts).map(([purpose, count]) => `${counted(count, "candidate", "candidates")} for ${purpose}`).join(", "),
    ...names.map((name) => one.facts[name] || "–")])));
}

function showAgain(data) {
  for (const place of document.querySelectorAll("[data-again]")) {
    place.append("Repeat: ", commandLine(data.commands[place.dataset.again]));
  }
}

function looksNote(data) {
  return data.looks.text && `The dots in the plot of size are looks; the thin line joins the best of them. ${data.looks.text}`;
}

function slicesNote(data) {
  const reason = ({ loose }) => loose.tested ?? loose.found, loose = data.slices.filter(reason);
  const note = loose.length
    ? `Shown, but not binding: ${loose.map((slice) => `${slice.name} (${reason(slice)})`).join(", ")}.`
    : "All of these slices bind.";
  return `Vermilion is a loss against the baseline, blue a gain; the deepest colour is 30${GAP}%. ${note}`;
}
