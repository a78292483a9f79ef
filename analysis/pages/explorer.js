"use strict";
// Draws DATA (analysis/explorer.py) and answers the controls. Every number that is read is text from there, rounded once;
// here are only places on the screen.
const byId = (id) => document.getElementById(id);
const method = Object.fromEntries(DATA.methods.map((m) => [m.name, m]));
// Named one by one: plotly's own choice has a button that sends the data to its makers.
const SETTINGS = { responsive: true, displaylogo: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };
const STABILITY = "#0072b2", PLASTICITY = "#e69f00";
const DASHES = ["solid", "dash", "dot", "dashdot"];
const MARGIN = { l: 46, r: 10, t: 26, b: 40 };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// What is chosen. `point` is a series, the place of a count in it, and a trial or null: the mean of its seeds.
const state = { view: "tradeoff", pairs: new Set(DATA.pairs), methods: new Set(DATA.methods.map((m) => m.name)),
  measure: DATA.measures[0].id, axes: "fitted", crosses: "t", network: DATA.networks[0],
  count: Math.floor((DATA.counts.length - 1) / 2), weight: Math.floor((DATA.weights.length - 1) / 2), point: null };

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const shown = () => DATA.measures.find((m) => m.id === state.measure);
const isShown = (series) => series.kind === shown().kind && state.pairs.has(series.pair) && state.methods.has(series.method);
const visible = () => DATA.series.filter(isShown);
const there = (trial) => (DATA.trials[trial][state.measure] ?? null) !== null;
const has = (count) => count[state.measure].n > 0;
const chosenCount = () => DATA.counts[state.count];
const advice = () => DATA.advice[state.measure]?.[state.weight] ?? [];
const adviceOf = (series) => advice().find((one) => one.of === series.label);
const several = (series) => series.counts.filter((c) => c.neurons !== null).length > 1;
const looks = (series, count) => (several(series) && count.neurons !== null
  ? DATA.counts.find((c) => c.label === count.label && c.neurons === count.neurons).colour : method[series.method].colour);

// State in the address

function remember() {
  const at = state.point, words = { view: state.view, measure: state.measure, axes: state.axes, crosses: state.crosses, network: state.network,
    neurons: chosenCount()?.label, weight: DATA.weights[state.weight] };
  if (state.pairs.size < DATA.pairs.length) words.pairs = DATA.pairs.flatMap((pair, i) => (state.pairs.has(pair) ? [i] : [])).join(" ");
  if (state.methods.size < DATA.methods.length) words.methods = [...state.methods].join(" ");
  if (at) Object.assign(words, { of: DATA.series[at.series].label, at: DATA.series[at.series].counts[at.count].label });
  if (at && at.trial !== null) words.seed = DATA.trials[at.trial].seed;
  const known = Object.entries(words).filter(([, value]) => value !== undefined);
  history.replaceState(null, "", "#" + new URLSearchParams(known));
}

function recall() {
  const words = new URLSearchParams(location.hash.slice(1));
  const take = (name, values) => { if (values.includes(words.get(name))) state[name] = words.get(name); };
  take("view", ["tradeoff", "counts"]);
  take("measure", DATA.measures.map((m) => m.id));
  take("axes", ["fitted", "unit"]);
  take("crosses", ["t", "se", "none"]);
  take("network", DATA.networks);
  const place = (found, otherwise) => (found >= 0 ? found : otherwise);
  state.count = place(DATA.counts.findIndex((c) => c.label === words.get("neurons")), state.count);
  state.weight = place(DATA.weights.indexOf(words.get("weight")), state.weight);
  if (words.has("pairs")) state.pairs = new Set(words.get("pairs").split(" ").flatMap((i) => DATA.pairs[i] ?? []));
  if (words.has("methods")) state.methods = new Set(words.get("methods").split(" ").filter((name) => name in method));
  const series = DATA.series.findIndex((s) => s.label === words.get("of"));
  const count = series < 0 ? -1 : DATA.series[series].counts.findIndex((c) => c.label === words.get("at"));
  if (count < 0) return;
  const trial = DATA.series[series].counts[count].trials.find((i) => String(DATA.trials[i].seed) === words.get("seed"));
  state.point = { series, count, trial: trial ?? null };
}

// Plots

function layout(x, y, extra = {}) {
  const axis = (title) => ({ title: { text: title, font: { size: 12 }, standoff: 6 }, gridcolor: colour("--line"),
    zeroline: false, linecolor: colour("--quiet"), tickfont: { size: 11 }, automargin: false });
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("--ink"), family: "inherit" },
    margin: MARGIN, hovermode: "closest", showlegend: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--quiet"), activecolor: colour("--accent") },
    hoverlabel: { bgcolor: colour("--shade"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    xaxis: axis(x), yaxis: axis(y), ...extra };
}

const ends = (summary) => {
  if (state.crosses === "none") return null;
  if (state.crosses === "t") return summary.t;
  return summary.se === null ? null : [summary.mean - summary.se, summary.mean + summary.se];
};

// The range that holds all seeds, means and crosses of the given series; of rates no more than [0, 1] and a little room.
function fitted(every, which) {
  const unit = [-0.04, 1.04];
  if (shown().rate && state.axes === "unit") return unit;
  const values = every.flatMap((s) => s.counts).flatMap((c) => [
    ...c.trials.filter(there).map((i) => DATA.trials[i][state.measure][which === "stability" ? 0 : 1]),
    ...(has(c) ? [c[state.measure][which].mean, ...(ends(c[state.measure][which]) ?? [])] : [])]);
  if (!values.length) return shown().rate ? unit : undefined;
  const [low, high] = [Math.min(...values), Math.max(...values)], room = 0.06 * (high - low) || 0.05;
  if (state.axes === "unit") return [Math.min(low, 0) - room, Math.max(high, 1) + room];
  return shown().rate ? [Math.max(unit[0], low - room), Math.min(unit[1], high + room)] : [low - room, high + room];
}

function bars(summary, own) {
  const found = ends(summary);
  return found ? { type: "data", symmetric: false, array: [found[1] - summary.mean], arrayminus: [summary.mean - found[0]],
    color: own, thickness: 1.3, width: 0 } : undefined;
}

const told = (series, count) => `${series.label}${count.label && ", " + count.label}<br>mean of n=${count[state.measure].n} of ${count.planned}` +
  `<br>stability ${count[state.measure].stability.text}<br>plasticity ${count[state.measure].plasticity.text}`;
const toldSeed = (t) => `${t.method}${t.count === null ? "" : " " + t.count}, seed ${t.seed}<br>stability ${t.texts[state.measure][0]}, ` +
  `plasticity ${t.texts[state.measure][1]}`;
const mark = (x, y, marker, customdata) => ({ type: "scatter", mode: "markers", x, y, marker, hoverinfo: "skip", customdata });
const isPoint = (series, i, trial) => state.point && DATA.series[state.point.series] === series && state.point.count === i && state.point.trial === trial;

function tradeoffTraces(series) {
  const { front, knee, live } = series.fronts[state.measure], own = method[series.method];
  const traces = [], at = (c) => c[state.measure], joined = series.counts.filter((c) => has(c) && c.neurons !== null);
  if (joined.length > 1)
    traces.push({ type: "scatter", mode: "lines", x: joined.map((c) => at(c).stability.mean), y: joined.map((c) => at(c).plasticity.mean),
      hoverinfo: "skip", line: { color: DATA.methods.length > 1 ? own.colour : colour("--quiet"), width: 1.2, dash: series.dash } });
  series.counts.forEach((count, i) => {
    const trials = count.trials.filter(there), its = looks(series, count);
    traces.push({ type: "scatter", mode: "markers", name: "seed", customdata: trials.map((t) => [series.place, i, t]),
      x: trials.map((t) => DATA.trials[t][state.measure][0]), y: trials.map((t) => DATA.trials[t][state.measure][1]),
      text: trials.map((t) => toldSeed(DATA.trials[t])), hovertemplate: "%{text}<extra></extra>",
      marker: { color: its, symbol: own.symbol, size: 6, opacity: 0.55,
        line: { width: trials.map((t) => (isPoint(series, i, t) ? 3 : 0)), color: colour("--ink") } } });
    if (!has(count)) return;
    const { stability, plasticity } = at(count), onFront = series.counts.length > 1 && front.includes(i);
    traces.push({ type: "scatter", mode: "markers", name: "mean", x: [stability.mean], y: [plasticity.mean], customdata: [[series.place, i, null]],
      text: [told(series, count)], hovertemplate: "%{text}<extra></extra>", error_x: bars(stability, its), error_y: bars(plasticity, its),
      marker: { color: its, symbol: own.symbol, size: 12, line: { width: onFront ? 2 : 0, color: colour("--ink") } } });
    if (count.neurons !== null && count.label === chosenCount()?.label && DATA.counts.length > 1)
      traces.push(mark([stability.mean], [plasticity.mean], { symbol: "circle-open", size: 24, color: colour("--accent"), line: { width: 3 } }));
    if (i === knee && series.counts.length > 1)
      traces.push(mark([stability.mean], [plasticity.mean], { symbol: "star", size: 8, color: colour("--page") }));
  });
  if (live) traces.push(mark([live[0]], [live[1]], { symbol: "diamond-open", size: 12, color: colour("--ink"), line: { width: 2 } }));
  return traces;
}

// All points of the value that the best count has: w x + (1 - w) y.
function valueLine(series, x, y) {
  const of = adviceOf(series), best = of && of.counts[of.best].value.mean, w = Number(DATA.weights[state.weight]);
  if (best === undefined || !x || !y) return [];
  const along = w < 0.5 ? x.map((one) => [one, (best - w * one) / (1 - w)]) : y.map((one) => [(best - (1 - w) * one) / w, one]);
  return [{ type: "scatter", mode: "lines", x: along.map((p) => p[0]), y: along.map((p) => p[1]), hoverinfo: "skip",
    line: { color: colour("--accent"), width: 1, dash: "dot" } }];
}

// Labels beside the means where they hide neither a mean nor one another; those that find no place are left to the pointer.
function labels(every, box, x, y) {
  if (!x || !y) return [];
  const [wide, high] = [box.clientWidth - MARGIN.l - MARGIN.r, box.clientHeight - MARGIN.t - MARGIN.b];
  const place = (count) => [(count[state.measure].stability.mean - x[0]) / (x[1] - x[0]) * wide,
    (1 - (count[state.measure].plasticity.mean - y[0]) / (y[1] - y[0])) * high];
  const points = every.flatMap((s) => s.counts.filter(has).map((c) => ({ s, c, at: place(c), text: c.label || s.method })));
  const taken = points.map(({ at: [px, py] }) => [px - 7, py - 7, px + 7, py + 7]);
  const free = (b) => b[0] >= 0 && b[1] >= 0 && b[2] <= wide && b[3] <= high &&
    taken.every((t) => b[2] <= t[0] || b[0] >= t[2] || b[3] <= t[1] || b[1] >= t[3]);
  points.sort((a, b) => (b.c.label === chosenCount()?.label) - (a.c.label === chosenCount()?.label));
  return points.flatMap(({ c, at: [px, py], text }) => {
    const [w, h] = [7 * text.length + 4, 14], away = c.label && c.label === chosenCount()?.label ? 21 : 16;  // outside of the ring
    const tries = [[0, -1], [1, -1], [-1, -1], [1, 0], [-1, 0], [0, 1], [1, 1], [-1, 1]].map(([dx, dy]) => [dx * (away - 6 + w / 2), dy * (dx ? away - 6 : away)]);
    for (const [dx, dy] of tries) {
      const b = [px + dx - w / 2, py + dy - h / 2, px + dx + w / 2, py + dy + h / 2];
      if (!free(b)) continue;
      taken.push(b);
      return [{ x: c[state.measure].stability.mean, y: c[state.measure].plasticity.mean, text, showarrow: false, xshift: dx, yshift: -dy,
        font: { size: 11, color: colour("--ink") } }];
    }
    return [];
  });
}

// The number of skill neurons to the right: both means with their intervals as bands, and the weighed value.
function countTraces(series) {
  const places = Object.fromEntries(DATA.counts.map((c, i) => [c.label, i])), own = method[series.method], traces = [];
  const add = (what, name, its) => {
    const at = (c) => c[state.measure][what], found = series.counts.map((c, i) => ({ c, i })).filter(({ c }) => has(c));
    const counted = found.filter(({ c }) => c.neurons !== null);
    if (several(series)) {
      const runs = [[]];
      for (const one of counted) ends(at(one.c)) ? runs.at(-1).push(one) : runs.push([]);
      for (const run of runs.filter((r) => r.length > 1)) {
        const xs = run.map(({ c }) => places[c.label]), found = run.map(({ c }) => ends(at(c)));
        traces.push({ type: "scatter", mode: "lines", x: [...xs, ...xs.toReversed()], y: [...found.map((e) => e[0]), ...found.map((e) => e[1]).toReversed()],
          fill: "toself", fillcolor: its + "2b", line: { width: 0 }, hoverinfo: "skip", name: "band" });
      }
      for (const [{ c }] of runs.filter((r) => r.length === 1))
        traces.push({ ...mark([places[c.label]], [at(c).mean], { size: 1, color: its }), error_y: bars(at(c), its) });
    }
    const seeds = series.counts.flatMap((c, i) => c.trials.filter(there).map((t) => [series.place, i, t])).filter(([, i]) => series.counts[i].neurons !== null);
    traces.push({ type: "scatter", mode: "markers", name: "seed", customdata: seeds, x: seeds.map(([, i]) => places[series.counts[i].label]),
      y: seeds.map(([, , t]) => DATA.trials[t][state.measure][what === "stability" ? 0 : 1]),
      text: seeds.map(([, , t]) => toldSeed(DATA.trials[t])), hovertemplate: "%{text}<extra></extra>",
      marker: { color: its, size: 4, opacity: 0.5, line: { width: seeds.map(([, i, t]) => (isPoint(series, i, t) ? 3 : 0)), color: colour("--ink") } } });
    if (counted.length)
      traces.push({ type: "scatter", mode: "lines+markers", name, customdata: counted.map(({ i }) => [series.place, i, null]),
        x: counted.map(({ c }) => places[c.label]), y: counted.map(({ c }) => at(c).mean), text: counted.map(({ c }) => told(series, c)),
        hovertemplate: "%{text}<extra></extra>", line: { color: its, width: 2, dash: series.dash }, marker: { color: its, symbol: own.symbol, size: 9 } });
    for (const { c, i } of found.filter(({ c }) => c.neurons === null))
      traces.push({ type: "scatter", mode: "lines+markers", name, customdata: [[series.place, i, null], [series.place, i, null]],
        x: [-0.4, DATA.counts.length - 0.6], y: [at(c).mean, at(c).mean], text: [told(series, c), told(series, c)], hovertemplate: "%{text}<extra></extra>",
        line: { color: its, width: 1, dash: "dot" }, marker: { color: its, symbol: own.symbol, size: 7 } });
  };
  add("stability", "stability", STABILITY);
  add("plasticity", "plasticity", PLASTICITY);
  const of = adviceOf(series);
  if (of) {
    traces.push({ type: "scatter", mode: "lines", name: "value", x: of.counts.map((c) => places[c.label]), y: of.counts.map((c) => c.value.mean),
      text: of.counts.map((c) => `${series.label}, ${c.label}<br>value ${c.value.text}`), hovertemplate: "%{text}<extra></extra>",
      line: { color: colour("--ink"), width: 2, dash: "dash" } });
    traces.push(mark([places[of.counts[of.best].label]], [of.counts[of.best].value.mean], { symbol: "star", size: 13, color: colour("--ink") }));
  }
  return traces;
}

function drawPanels() {
  const box = byId("panels"), every = visible(), pairs = [...new Set(every.map((s) => s.pair))];
  const raw = shown().raw, words = shown();
  box.classList.toggle("one", pairs.length === 1);
  byId("nothing").hidden = pairs.length > 0;
  // A plot is hidden, never removed: plotly may be at work on it.
  DATA.pairs.forEach((pair, at) => (box.children[at].hidden = !pairs.includes(pair)));
  pairs.forEach((pair) => {
    const plot = box.children[DATA.pairs.indexOf(pair)].querySelector(".plot"), own = every.filter((s) => s.pair === pair), ranged = raw ? own : every;
    const [x, y] = [fitted(ranged, "stability"), fitted(ranged, "plasticity")];
    let traces, axes;
    if (state.view === "tradeoff") {
      traces = [...own.flatMap((s) => valueLine(s, x, y)), ...own.flatMap(tradeoffTraces)];
      axes = layout(words.stability, words.plasticity, { annotations: labels(own, plot, x, y) });
      Object.assign(axes.xaxis, { range: x });
      Object.assign(axes.yaxis, { range: y });
    } else {
      traces = own.flatMap(countTraces);
      axes = layout("skill neurons", words.axis);
      Object.assign(axes.xaxis, { range: [-0.5, DATA.counts.length - 0.5], tickvals: DATA.counts.map((_, i) => i), ticktext: DATA.counts.map((c) => c.label) });
      axes.yaxis.range = x && y && [Math.min(x[0], y[0]), Math.max(x[1], y[1])];
      const upright = (x, line) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line });
      axes.shapes = [upright(state.count, { color: colour("--accent"), width: 2 }),
        ...own.filter((s) => s.live !== null).map((s) => upright(s.live, { color: colour("--ink"), width: 1, dash: "dot" }))];
    }
    if (!own.some((s) => s.counts.some(has)))
      axes.annotations = [{ text: "no seed has both numbers yet", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, font: { color: colour("--quiet") } }];
    Plotly.react(plot, traces, axes, SETTINGS);
    plot.removeAllListeners?.("plotly_click");
    plot.on("plotly_click", ({ points }) => {
      const found = points.map((p) => p.customdata).find(Array.isArray);
      if (found) choose({ series: found[0], count: found[1], trial: found[2] });
    });
  });
}

function drawKey() {
  const key = byId("key"), part = (text, mark) => {
    const made = element("span");
    if (mark) made.append(mark);
    made.append(text);
    return made;
  };
  const styled = (name, style) => Object.assign(element("span", undefined, { class: name }), { style });
  const counts = visible().some(several);
  const swatches = !counts || state.view === "counts" ? [] : DATA.counts.map((c, i) => {
    const button = element("button", undefined, { type: "button", "aria-label": `${c.label} skill neurons` });
    button.append(styled("swatch", `background: ${c.colour}`), c.label);
    button.classList.toggle("at", i === state.count);
    button.addEventListener("click", () => move(i));
    return button;
  });
  const several_ = DATA.counts.length > 1;
  const marks = state.view === "counts"
    ? [part("stability", styled("stroke", `border-color: ${STABILITY}`)), part("plasticity", styled("stroke", `border-color: ${PLASTICITY}`)),
      ...(advice().length ? [part("value at this weight, its best with a star", styled("stroke", "border-top-style: dashed"))] : []),
      ...(several_ ? [part("the slider", styled("stroke", `border-color: ${colour("--accent")}`))] : []),
      ...(visible().some((s) => s.live !== null) ? [part("live neurons end", styled("stroke", "border-top-style: dotted"))] : [])]
    : [...(counts ? [part("skill neurons:"), ...swatches] : []),
      ...(counts ? [part("on the Pareto front", styled("ring", "")), part("knee: a star in the mark")] : []),
      ...(visible().some((s) => s.fronts[state.measure].live) ? [part("◇ live neurons end")] : []),
      ...(several_ && counts ? [part("at the slider", styled("ring chosen", ""))] : []),
      ...(advice().length ? [part("dotted: as good as the best at this weight")] : [])];
  key.replaceChildren(...marks);
}

// Tables

function fill(table, heads, rows) {
  table.replaceChildren();
  const head = table.createTHead().insertRow();
  for (const [title, numeric] of heads) head.append(element("th", title, { scope: "col", ...(numeric ? { class: "n" } : {}) }));
  const body = table.createTBody();
  for (const [cells, name] of rows) {
    const row = body.insertRow();
    if (name) row.className = name;
    cells.forEach((text, i) => {
      const cell = row.insertCell();
      cell.textContent = text;
      if (heads[i][1]) cell.className = "n";
    });
  }
}

function drawAdvice() {
  const labels = new Set(visible().map((s) => s.label)), whole = state.pairs.size === DATA.pairs.length;
  const found = advice().filter((one) => labels.has(one.series) || (one.series === null && whole));
  byId("advice").hidden = !found.length;
  byId("weighting").hidden = !DATA.advice[state.measure];
  byId("weight-label").textContent = DATA.weights[state.weight];
  if (!found.length) return;
  const chosen = (state.point && found.find((one) => one.series === DATA.series[state.point.series].label)) || found.at(-1);
  byId("advice-title").textContent = `Advice: stability weighs ${DATA.weights[state.weight]} of 1`;
  byId("advice-sentence").textContent = `${found.at(-1).of}: ${found.at(-1).sentence}`;
  fill(byId("advice-best"), [["of"], ["best", true], ["per network", true], ["value", true], ["n", true], ["cannot be told apart"]],
    found.map((one) => [[one.of, one.counts[one.best].label, one.counts[one.best].neurons, one.counts[one.best].value.text, one.seeds, one.ties.join(", ") || "-"]]));
  byId("advice-of").textContent = chosen.of;
  fill(byId("advice-counts"), [["skill neurons", true], ["per network", true], [`value (n=${chosen.seeds})`, true], ["behind the best", true], ["best in", true]],
    chosen.counts.map((c, i) => [[c.label, c.neurons, c.value.text, c.behind, c.best_in], i === chosen.best ? "best" : ""]));
  byId("advice-command").textContent = shown().command ? `${shown().command} --weight-stability ${DATA.weights[state.weight]}` : "";
  byId("advice-command").parentElement.hidden = !shown().command;
}

function drawSummary() {
  const chosen = chosenCount(), isMany = DATA.counts.length > 1;
  byId("count-label").textContent = chosen ? `${chosen.label} (${chosen.neurons} per network)` : "";
  byId("at").textContent = chosen && isMany ? `At ${chosen.label} skill neurons (${chosen.neurons} per network)` : "Methods";
  const rows = visible().flatMap((series) => series.counts.flatMap((count, i) => {
    if (count.label && isMany && count.label !== chosen?.label) return [];
    const { front, knee } = series.fronts[state.measure], { defined } = count[state.measure];
    const undefinedScores = count.undefined ? `, score undefined in ${count.undefined}` : "";
    const place = i === knee ? "knee" : front.includes(i) && series.counts.length > 1 ? "on it" : "";
    const row = ({ n, stability, plasticity }, planned, more, place) => [[series.pair, series.method + (series.variant && `, ${series.variant}`),
      count.label || "none", `${n} of ${planned}${more}`, stability.mean_text, stability.t_text, plasticity.mean_text, plasticity.t_text, place]];
    return [row(count[state.measure], count.planned, undefinedScores, place),
      ...(defined ? [row(defined, count.planned - count.undefined, ", these left out", "")] : [])];
  }));
  fill(byId("summary"), [["pair"], ["method"], ["neurons", true], ["n", true], ["stability", true], ["95 % t interval", true], ["plasticity", true],
    ["95 % t interval", true], ["front"]], rows);
}

// What is chosen

function describe(list, term, ...content) {
  const value = element("dd");
  value.append(...content);
  list.append(element("dt", term), value);
}

function drawPoint() {
  const panel = byId("told");
  panel.replaceChildren();
  const at = state.point;
  const chosen = at && isShown(DATA.series[at.series]);
  for (const id of ["curves", "layers", "no-layers"]) byId(id).hidden = !chosen;
  if (!chosen) {
    panel.append(element("p", visible().length ? `No seed has finished both ${shown().task}s yet, in these measures; nothing to click on.` : "Nothing is chosen.", { class: "empty" }));
    return;
  }
  const series = DATA.series[at.series], count = series.counts[at.count], list = element("dl");
  const who = [series.method, count.label, series.variant].filter(Boolean).join(", ");
  const trials = at.trial === null ? count.trials.filter(there) : [at.trial];
  panel.append(element("h2", `${series.pair}: ${who}, ${at.trial === null ? `mean of ${trials.length} seed${trials.length === 1 ? "" : "s"}` : `seed ${DATA.trials[at.trial].seed}`}`));
  if (at.trial === null) {
    const { stability, plasticity } = count[state.measure], seeds = element("span");
    describe(list, "stability", stability.text);
    describe(list, "plasticity", plasticity.text);
    for (const trial of trials) {
      const t = DATA.trials[trial], button = element("button", `seed ${t.seed}: ${t.texts[state.measure].join(", ")}`, { type: "button", class: "seed" });
      button.addEventListener("click", () => choose({ ...at, trial }));
      seeds.append(button);
    }
    describe(list, "its seeds", seeds);
  } else {
    const t = DATA.trials[at.trial], link = (href, text) => element("a", text, { href });
    const back = element("button", "the mean of its seeds", { type: "button", class: "seed" });
    back.addEventListener("click", () => choose({ ...at, trial: null }));
    describe(list, "result", `stability ${t.texts[state.measure][0]}, plasticity ${t.texts[state.measure][1]}; ${t.status}`);
    if (t.learnt === false) describe(list, "caution", "the first task was not learnt: there is nothing to forget");
    if (t.undefined) describe(list, "caution", "the score was undefined: the neurons were drawn at random");
    if (t.truncated) describe(list, "caution", "the stored curve is cut off");
    describe(list, "first phase", link(t.folders.first, t.keys.first));
    describe(list, "second phase", link(t.folders.second, t.keys.second));
    if (t.films.length) describe(list, "films", ...t.films.map((one) => link(one, one)));
    describe(list, "run it again", element("code", t.command));
    describe(list, "beside it", back);
  }
  panel.append(list);
  drawCurves(series, trials.map((i) => DATA.trials[i]), looks(series, count));
  drawLayers(at.trial === null ? count.selected[state.network] : DATA.trials[at.trial].selected[state.network], series, looks(series, count));
}

function drawCurves(series, trials, own) {
  // An empty line is none to plotly, and a second axis cannot lie over one that has no line: so a point that is no number.
  const points = (values, none) => (values.length ? values : [none]);
  const rate = series.kind === "success", [t] = trials, many = trials.length > 1, traces = [];
  const names = rate ? ["second task, last ten episodes", "first task, evaluated"] : [`${t.second_task}, last ten episodes`, `${t.first_task}, evaluated`];
  trials.forEach((trial, i) => {
    const line = (curve, name, its, dash, extra) => traces.push({ type: "scatter", mode: "lines", name, showlegend: !i, x: points(curve.x, 0), y: points(curve.y, null),
      opacity: many ? 0.7 : 1, line: { color: its, dash, width: many ? 1.2 : 2 }, text: points(curve.text, ""),
      hovertemplate: `seed ${trial.seed}: %{text} at %{x:,}<extra></extra>`, ...extra });
    const other = rate ? {} : { yaxis: "y2" }, stop = trial.training.stopped;
    line(trial.training, names[0], own, "solid", {});
    line(trial.retained, names[1], colour("--ink"), "dash", other);
    if (stop === null) return;
    if (trial.training.y.length)
      traces.push({ ...mark([stop], [trial.training.y.at(-1)], { symbol: "x-thin", size: 9, line: { width: 2, color: own } }), name: "stopped early", showlegend: !i });
    if (stop >= trial.budget) return;
    const carried = (curve, its, extra) => traces.push({ type: "scatter", mode: "lines", name: "carried: final evaluation", hoverinfo: "skip", x: [stop, trial.budget],
      y: [curve.carried, curve.carried], line: { color: its, dash: "dot", width: many ? 1.2 : 2 }, ...extra });
    carried(trial.training, own, { showlegend: !i });
    carried(trial.retained, colour("--ink"), { ...other, showlegend: false });
  });
  const axes = layout("env steps in the second phase", rate ? "success rate" : `raw score, ${t.second_task}`, { showlegend: true,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } }, margin: { l: 52, r: 12, t: 30, b: 40 } });
  axes.xaxis.range = [0, t.budget];
  // Of scores there is no range to fall back on where a curve has no point yet.
  const range = (which) => (trials.some((one) => one[which].y.length) ? undefined : [0, 1]);
  if (rate) axes.yaxis.range = [-0.05, 1.05];
  else {
    axes.yaxis.range = range("training");
    axes.yaxis2 = { ...axes.yaxis, title: { text: t.first_task, font: { size: 12 } }, overlaying: "y",
      range: range("retained"), side: "right", showgrid: false, tickmode: "auto", nticks: 5 };
    axes.margin.r = 52;
  }
  Plotly.react("curves", traces, axes, { ...SETTINGS, displayModeBar: false });
}

function drawLayers(layers, series, own) {
  const plot = byId("layers");
  plot.hidden = !layers;
  byId("no-layers").textContent = layers ? "" : `${series.method} freezes no neurons of ${state.network}.`;
  if (!layers) return;
  const names = layers.map((_, i) => `layer ${i + 1}`);
  const bar = (what, name, its) => ({ type: "bar", orientation: "h", name, y: names, x: layers.map((l) => l[what].mean),
    text: layers.map((l) => l[what].text), textposition: "auto", marker: { color: its }, hovertemplate: `%{text} ${name}<extra></extra>` });
  const axes = layout(`neurons of ${state.network}, layers from the input`, "", { showlegend: true, barmode: "group",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 }, traceorder: "normal" },
    margin: { l: 60, r: 12, t: 30, b: 40 } });
  axes.xaxis.rangemode = "tozero";
  axes.yaxis = { autorange: "reversed", tickfont: { size: 11 } };
  Plotly.react(plot, [bar("selected", "selected", own), bar("constant", "constant on all scoring steps", colour("--line"))],
    axes, { ...SETTINGS, displayModeBar: false });
}

// Choices

function draw() {
  keepPoint();
  drawKey();
  drawPanels();
  drawAdvice();
  drawSummary();
  drawPoint();
  remember();
}

// What is chosen must be on the page: else the first mean that is.
function keepPoint() {
  const at = state.point, of = at && DATA.series[at.series], count = of?.counts[at.count];
  if (of && isShown(of) && (at.trial === null ? has(count) : there(at.trial))) return;
  const places = DATA.series.flatMap((s, series) => (isShown(s) ? s.counts.map((c, i) => ({ series, count: i, c })) : [])).filter(({ c }) => has(c));
  const best = places.find(({ c }) => c.neurons !== null && c.label === chosenCount()?.label) ?? places[0];
  state.point = best ? { series: best.series, count: best.count, trial: null } : null;
}

function choose(point) {
  state.point = point;
  const { label, neurons } = DATA.series[point.series].counts[point.count];
  const at = DATA.counts.findIndex((c) => c.label === label && c.neurons === neurons);
  if (at >= 0) state.count = +(byId("count").value = at);
  draw();
  if (matchMedia("(max-width: 64rem)").matches) byId("trial").scrollIntoView({ block: "nearest" });
}

// The slider moves all: the rings, the table, and what is chosen, by the same pair, method and seed.
function move(to) {
  state.count = +(byId("count").value = to);
  const at = state.point, series = at && DATA.series[at.series];
  const place = series ? series.counts.findIndex((c) => c.neurons !== null && c.label === chosenCount().label) : -1;
  if (place >= 0) {
    const seed = at.trial === null ? null : DATA.trials[at.trial].seed;
    const trial = series.counts[place].trials.find((i) => DATA.trials[i].seed === seed && there(i));
    state.point = { series: at.series, count: place, trial: trial ?? null };
  }
  draw();
}

function tick(box, values, chosen, decorate) {
  for (const value of values) {
    const label = element("label"), input = element("input", undefined, { type: "checkbox", value });
    input.checked = chosen().has(value);
    input.addEventListener("change", () => {
      chosen()[input.checked ? "add" : "delete"](value);
      draw();
    });
    label.append(input, " ");
    decorate?.(label, value);
    label.append(value);
    box.append(label);
  }
}

function select(id, values, words) {
  const box = byId(id);
  values.forEach((value, i) => box.append(element("option", words[i], { value })));
  box.value = state[id];
  box.addEventListener("change", () => {
    state[id] = box.value;
    draw();
  });
}

DATA.series.forEach((series, place) => {
  const alike = DATA.series.filter((s) => s.pair === series.pair && several(s) && several(series));
  Object.assign(series, { place, dash: DASHES[Math.max(0, alike.indexOf(series)) % DASHES.length] });
});
recall();
byId("panels").append(...DATA.pairs.map((pair) => {
  const panel = element("div", undefined, { class: "panel" });
  panel.append(element("h3", pair), element("div", undefined, { class: "plot", role: "img", "aria-label": `${pair}; the table below has its numbers` }));
  return panel;
}));
tick(byId("pairs"), DATA.pairs, () => state.pairs);
tick(byId("methods"), DATA.methods.map((m) => m.name), () => state.methods, (label, name) => {
  if (DATA.series.some((s) => s.method === name && !several(s)) || DATA.methods.length > 1)
    label.append(Object.assign(element("span", undefined, { class: "swatch" }), { style: `background: ${method[name].colour}` }));
});
select("measure", DATA.measures.map((m) => m.id), DATA.measures.map((m) => m.words));
select("network", DATA.networks, DATA.networks);
select("axes", [], []);
select("crosses", [], []);
for (const input of document.querySelectorAll("input[name=view]")) {
  input.checked = input.value === state.view;
  input.addEventListener("change", () => {
    state.view = input.value;
    draw();
  });
}
byId("count").max = Math.max(0, DATA.counts.length - 1);
byId("count").value = state.count;
byId("slider").hidden = DATA.counts.length < 2;
byId("count").addEventListener("input", (event) => move(+event.target.value));
byId("weight").max = DATA.weights.length - 1;
byId("weight").value = state.weight;
byId("weight").addEventListener("input", (event) => {
  state.weight = +event.target.value;
  draw();
});
for (const rule of DATA.rules) byId("notes").append(element("li", rule));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) drawPanels();
  width = innerWidth;
});
draw();
