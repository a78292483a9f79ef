"use strict";
// Draws DATA (analysis/explorer.py) and answers the controls; computes nothing but what is shown.
const byId = (id) => document.getElementById(id);
const state = { pairs: new Set(DATA.pairs), methods: new Set(DATA.methods.map((m) => m.name)), measure: DATA.measures[0].id,
  network: DATA.networks[0], count: 0, trial: null };
const method = Object.fromEntries(DATA.methods.map((m) => [m.name, m]));
// Named one by one: plotly's own choice has a button that sends the data to its makers.
const SETTINGS = { responsive: true, displaylogo: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (value) => (value === null ? "-" : value.toFixed(2));

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const shown = () => DATA.measures.find((m) => m.id === state.measure);

function layout(x, y, extra = {}) {
  const range = shown().rate ? [-0.05, 1.05] : undefined;
  const axis = (title) => ({ title: { text: title, font: { size: 12 } }, range, gridcolor: colour("--line"),
    zeroline: false, linecolor: colour("--quiet"), tickfont: { size: 11 } });
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("--ink"), family: "inherit" },
    margin: { l: 52, r: 12, t: 12, b: 44 }, hovermode: "closest", showlegend: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--quiet"), activecolor: colour("--accent") },
    hoverlabel: { bgcolor: colour("--shade"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    xaxis: axis(x), yaxis: axis(y), ...extra };
}

const visible = () => DATA.series.filter((s) => s.kind === shown().kind && state.pairs.has(s.pair) && state.methods.has(s.method));
const dashes = ["solid", "dash", "dot", "dashdot"];

function seedTrace(series) {
  const trials = series.counts.flatMap((count) => count.trials);
  const there = trials.filter((i) => DATA.trials[i][state.measure].every((v) => v !== null));
  const words = (t) => `${series.label}${t.count === null ? "" : ", " + t.count}<br>seed ${t.seed}`;
  return { type: "scatter", mode: "markers", customdata: there, text: there.map((i) => words(DATA.trials[i])),
    x: there.map((i) => DATA.trials[i][state.measure][0]), y: there.map((i) => DATA.trials[i][state.measure][1]),
    hovertemplate: "%{text}<br>stability %{x:.2f}, plasticity %{y:.2f}<extra></extra>",
    marker: { color: method[series.method].colour, symbol: method[series.method].symbol, size: 7, opacity: 0.6,
      line: { width: there.map((i) => (i === state.trial ? 3 : 0)), color: colour("--ink") } } };
}

function meanTrace(series) {
  const counts = series.counts.filter((count) => count[state.measure].n > 0);
  const at = (count) => count[state.measure];
  return { type: "scatter", mode: "lines+markers+text", x: counts.map((c) => at(c).stability.mean),
    y: counts.map((c) => at(c).plasticity.mean), text: counts.map((c) => c.label), textposition: "top left",
    textfont: { size: 11, color: colour("--quiet") },
    customdata: counts.map((c) => `${series.label}${c.label && ", " + c.label}<br>mean of n=${at(c).n} of ${c.planned}`),
    hovertemplate: "%{customdata}<br>stability %{x:.2f}, plasticity %{y:.2f}<extra></extra>",
    line: { color: method[series.method].colour, width: 2, dash: dashes[DATA.pairs.indexOf(series.pair) % 4] },
    marker: { color: method[series.method].colour, symbol: method[series.method].symbol, size: 11 } };
}

function ringTrace(points, marker, what) {
  return { type: "scatter", mode: "markers", x: points.map((p) => p.stability.mean), y: points.map((p) => p.plasticity.mean),
    hoverinfo: "skip", name: what, marker };
}

function marks(series) {
  const { front, knee, live } = series.fronts[state.measure];
  const several = series.counts.length > 1;
  const point = (i) => series.counts[i][state.measure];
  const chosen = series.counts.filter((c) => c.label === DATA.counts[state.count]?.label && c[state.measure].n > 0);
  const star = { symbol: "star", size: 15, color: colour("--ink"), line: { width: 1, color: colour("--page") } };
  return [
    ringTrace(several ? front.map(point) : [], { symbol: "circle-open", size: 18, color: colour("--ink"), line: { width: 1.5 } }, "front"),
    ringTrace(several && knee !== null ? [point(knee)] : [], star, "knee"),
    { ...ringTrace([], { symbol: "diamond-open", size: 13, color: colour("--ink"), line: { width: 2 } }, "live"),
      x: live ? [live[0]] : [], y: live ? [live[1]] : [] },
    ringTrace(chosen.map((c) => c[state.measure]), { symbol: "circle-open", size: 25, color: colour("--accent"), line: { width: 3 } }, "slider"),
  ];
}

function drawTradeoff() {
  const traces = visible().flatMap((series) => [meanTrace(series), ...marks(series), seedTrace(series)]);
  const plot = byId("tradeoff");
  Plotly.react(plot, traces, layout(`stability: ${shown().axis}, first ${shown().task}`, `plasticity: ${shown().axis}, second ${shown().task}`), SETTINGS);
  plot.removeAllListeners?.("plotly_click");
  plot.on("plotly_click", ({ points }) => {
    const trial = points.map((p) => p.customdata).find(Number.isInteger);
    if (trial !== undefined) choose(trial);
  });
}

function drawSummary() {
  const chosen = DATA.counts[state.count];
  byId("count-label").textContent = chosen ? `${chosen.label} (${chosen.neurons} per network)` : "";
  byId("at").textContent = chosen ? `At ${chosen.label} skill neurons (${chosen.neurons} per network)` : "Methods";
  const table = byId("summary");
  table.replaceChildren();
  const head = table.createTHead().insertRow();
  for (const title of ["pair", "method", "neurons", "n", "stability", "95 % t interval", "plasticity", "95 % t interval", "front"])
    head.append(element("th", title, { scope: "col" }));
  const body = table.createTBody();
  for (const series of visible())
    series.counts.forEach((count, i) => {
      if (count.label && count.label !== chosen?.label) return;
      const { n, stability, plasticity } = count[state.measure];
      const { front, knee } = series.fronts[state.measure];
      const mean = (s) => number(s.mean) + (s.equal ? ` (${n} of ${n} seeds equal)` : s.se === null ? "" : ` ± ${number(s.se)}`);
      const t = (s) => (s.t === null ? "-" : `[${number(s.t[0])}, ${number(s.t[1])}]`);
      const undefinedScores = count.undefined ? `, score undefined in ${count.undefined}` : "";
      const place = i === knee ? "knee" : front.includes(i) && series.counts.length > 1 ? "on it" : "";
      const row = body.insertRow();
      const name = series.method + (series.variant && `, ${series.variant}`);
      for (const text of [series.pair, name, count.label || "none", `${n} of ${count.planned}${undefinedScores}`, mean(stability), t(stability),
        mean(plasticity), t(plasticity), place]) row.insertCell().textContent = text;
    });
}

function describe(list, term, text, code = false) {
  const value = element("dd");
  value.append(code ? element("code", text) : text);
  list.append(element("dt", term), value);
}

function drawTrial() {
  const panel = byId("trial");
  panel.replaceChildren();
  if (state.trial === null) {
    panel.append(element("p", `No seed has finished both ${shown().task}s yet, in these measures; nothing to click on.`));
    return;
  }
  const t = DATA.trials[state.trial];
  const [stability, plasticity] = t[state.measure];
  const who = [t.method, t.count, t.variant, `seed ${t.seed}`].filter(Boolean).join(", ");
  panel.append(element("h2", `${t.pair}: ${who}`));
  const list = element("dl");
  describe(list, "result", `stability ${number(stability)}, plasticity ${number(plasticity)}; ${t.status}`);
  if (t.learnt === false) describe(list, "caution", "the first task was not learnt: there is nothing to forget");
  if (t.undefined) describe(list, "caution", "the score was undefined: the neurons were drawn at random");
  if (t.truncated) describe(list, "caution", "the stored curve is cut off");
  describe(list, "first task", t.folders.first, true);
  describe(list, "second task", t.folders.second, true);
  describe(list, "run it again", t.command, true);
  panel.append(list, element("div", undefined, { id: "curves", class: "small" }), element("div", undefined, { id: "layers", class: "small" }));
  drawCurves(t);
  drawLayers(t);
}

function drawCurves(t) {
  // An empty line is none to plotly, and a second axis cannot lie over one that has no line: so a point that is no number.
  const points = (values, none) => (values.length ? values : [none]);
  const line = (curve, name, own, dash) => ({ type: "scatter", mode: "lines", name, x: points(curve.x, 0), y: points(curve.y, null),
    line: { color: own, dash, width: 2 }, hovertemplate: `%{y:.2f} at %{x:,}<extra>${name}</extra>` });
  const rate = t.measure === "success";
  const traces = rate
    ? [line(t.training, "second task, last ten episodes", method[t.method].colour, "solid"),
      line(t.retained, "first task, evaluated", colour("--ink"), "dash")]
    : [line(t.training, `${t.second_task}, last ten episodes`, method[t.method].colour, "solid"),
      { ...line(t.retained, `${t.first_task}, evaluated`, colour("--ink"), "dash"), yaxis: "y2" }];
  const stop = t.training.stopped;
  if (stop !== null && t.training.y.length)
    traces.push({ type: "scatter", mode: "markers", name: "stopped early", x: [stop], y: [t.training.y.at(-1)],
      marker: { symbol: "x-thin", size: 9, line: { width: 2, color: method[t.method].colour } } });
  const carried = (curve, own, extra) => ({ type: "scatter", mode: "lines", name: "carried: final evaluation", x: [stop, t.budget],
    y: [curve.carried, curve.carried], line: { color: own, dash: "dot", width: 2 }, showlegend: curve === t.training, ...extra });
  if (stop !== null && stop < t.budget)
    traces.push(carried(t.training, method[t.method].colour, {}), carried(t.retained, colour("--ink"), rate ? {} : { yaxis: "y2" }));
  const axes = layout("env steps in the second phase", rate ? "success rate" : `raw score, ${t.second_task}`, { showlegend: true,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } }, margin: { l: 52, r: 12, t: 30, b: 40 } });
  axes.xaxis.range = [0, t.budget];
  // Of scores there is no range to fall back on where a curve has no point yet.
  const range = (curve) => (curve.y.length ? undefined : [0, 1]);
  if (!rate) {
    axes.yaxis.range = range(t.training);
    axes.yaxis2 = { ...axes.yaxis, title: { text: t.first_task, font: { size: 12 } }, overlaying: "y",
      range: range(t.retained), side: "right", showgrid: false, tickmode: "auto", nticks: 5 };
    axes.margin.r = 52;
  }
  Plotly.newPlot("curves", traces, axes, { ...SETTINGS, displayModeBar: false });
}

function drawLayers(t) {
  const layers = t.selected[state.network];
  const plot = byId("layers");
  if (!layers) {
    plot.className = "";
    plot.append(element("p", `${t.method} freezes no neurons of ${state.network}.`));
    return;
  }
  const names = layers.map((_, i) => `layer ${i + 1}`);
  const bar = (what, name, own) => ({ type: "bar", orientation: "h", name, y: names, x: layers.map((l) => l[what]),
    text: layers.map((l) => l[what]), textposition: "auto", marker: { color: own }, hovertemplate: `%{x} ${name}<extra></extra>` });
  const axes = layout(`neurons of ${state.network}, layers from the input`, "", { showlegend: true, barmode: "group",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 }, traceorder: "normal" },
    margin: { l: 60, r: 12, t: 30, b: 40 } });
  axes.xaxis.range = undefined;
  axes.xaxis.rangemode = "tozero";
  axes.yaxis = { autorange: "reversed", tickfont: { size: 11 } };
  Plotly.newPlot(plot, [bar("selected", "selected", method[t.method].colour), bar("constant", "constant on all scoring steps", colour("--line"))],
    axes, { ...SETTINGS, displayModeBar: false });
}

function draw() {
  drawTradeoff();
  drawSummary();
  drawTrial();
}

function choose(trial) {
  state.trial = trial;
  const at = DATA.counts.findIndex((count) => count.label === DATA.trials[trial].count);
  if (at >= 0) state.count = +(byId("count").value = at);
  draw();
}

function tick(box, values, chosen, decorate) {
  for (const value of values) {
    const label = element("label"), input = element("input", undefined, { type: "checkbox", value });
    input.checked = true;
    input.addEventListener("change", () => {
      chosen[input.checked ? "add" : "delete"](value);
      draw();
    });
    label.append(input, " ");
    decorate?.(label, value);
    label.append(value);
    box.append(label);
  }
}

function select(id, values, words, set) {
  const box = byId(id);
  values.forEach((value, i) => box.append(element("option", words[i], { value })));
  box.addEventListener("change", () => {
    set(box.value);
    draw();
  });
}

tick(byId("pairs"), DATA.pairs, state.pairs, (label, pair) => {
  const line = element("span", undefined, { class: "dash" });
  line.style.borderTopStyle = ["solid", "dashed", "dotted", "double"][DATA.pairs.indexOf(pair) % 4];
  label.append(line);
});
tick(byId("methods"), DATA.methods.map((m) => m.name), state.methods, (label, name) => {
  const swatch = element("span", undefined, { class: "swatch" });
  swatch.style.background = method[name].colour;
  label.append(swatch);
});
const there = (t) => (t[state.measure] ?? [null]).every((v) => v !== null);

function firstTrial() {
  const at = DATA.trials.findIndex((t) => t.count === DATA.counts[state.count]?.label && there(t));
  const first = at >= 0 ? at : DATA.trials.findIndex(there);
  state.trial = first >= 0 ? first : null;
}

select("measure", DATA.measures.map((m) => m.id), DATA.measures.map((m) => m.words), (value) => {
  state.measure = value;
  if (state.trial === null || !there(DATA.trials[state.trial])) firstTrial();
});
select("network", DATA.networks, DATA.networks, (value) => (state.network = value));
byId("count").max = Math.max(0, DATA.counts.length - 1);
byId("count").value = state.count = Math.floor((DATA.counts.length - 1) / 2);
byId("slider").hidden = DATA.counts.length < 2;
byId("count").addEventListener("input", (event) => {
  state.count = +event.target.value;
  drawTradeoff();
  drawSummary();
});
for (const rule of [...DATA.rules, "Table: mean ± standard error over the seeds that have both numbers, and their 95 % Student t interval (of rates cut at 0 and 1); one seed has neither, and two seeds, or seeds that are all equal, have no interval."])
  byId("notes").append(element("li", rule));
firstTrial();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
