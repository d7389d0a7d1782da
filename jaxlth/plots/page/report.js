"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const dashes = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "11 4", longdashdot: "11 3 2 3" };
const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

/** Unpack plotly.js, which the page holds compressed, and run it. */
async function loadLibrary() {
  const packed = Uint8Array.from(atob(document.getElementById("library").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Return the traces of a chart in the colours of the page as it is now, light or dark. */
function coloredTraces(chart, pressed) {
  return chart.data.map((trace) => {
    const line = chart.lines[trace.meta];
    const color = dark.matches ? line.dark : line.color;
    const colors = { line: { ...trace.line, color }, visible: pressed[trace.meta] };
    if (trace.marker) colors.marker = { ...trace.marker, color };
    if (trace.fill) colors.fillcolor = color;
    if (trace.error_y) colors.error_y = { ...trace.error_y, color };
    return { ...trace, ...colors };
  });
}

function coloredLayout(layout) {
  const axis = { gridcolor: cssColor("grid"), linecolor: cssColor("rule"), tickcolor: cssColor("rule") };
  return {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: cssColor("text"), family: "system-ui, sans-serif", size: 12 },
    hoverlabel: { bgcolor: cssColor("back"), bordercolor: cssColor("rule"), font: { color: cssColor("text") }, align: "left" },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: { ...layout.xaxis, ...axis },
    yaxis: { ...layout.yaxis, ...axis },
  };
}

/** Return a picture of a line for its button in the legend. */
function swatch(line) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ width: 26, height: 10, "aria-hidden": "true" })) picture.setAttribute(name, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const look = { d: "M0 5H26", "stroke-width": 3, "stroke-dasharray": dashes[line.dash] ?? line.dash.replace(/px,?/g, " "), stroke: dark.matches ? line.dark : line.color };
  for (const [name, value] of Object.entries(look)) path.setAttribute(name, value);
  picture.append(path);
  return picture;
}

/** Return where the buttons of lines go that are hidden at first: into details, if they are many. */
function moreLines(legend, count) {
  if (count <= 4) return legend;
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = `${count} more lines`;
  details.append(summary, document.createElement("div"));
  legend.append(details);
  return details.lastChild;
}

/** Draw a chart and its legend, whose buttons show and hide lines; again when the page turns dark. */
function drawChart(element) {
  const chart = JSON.parse(element.querySelector("script").textContent);
  const place = element.querySelector(".chart");
  const legend = element.querySelector(".legend");
  const buttons = [];
  let pressed = chart.lines.map((line) => line.shown);
  const draw = () => Plotly.react(place, coloredTraces(chart, pressed), coloredLayout(chart.layout), config);
  const press = () => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", pressed[i]));
    const visible = chart.data.map((trace) => pressed[trace.meta]);
    Plotly.restyle(place, { visible });
  };
  const alone = (i) => {
    const isAlone = pressed[i] && pressed.filter(Boolean).length === 1;
    pressed = pressed.map((_, j) => isAlone || i === j);
    press();
  };
  const more = moreLines(legend, pressed.filter((shown) => !shown).length);
  chart.lines.forEach((line, i) => {
    const button = document.createElement("button");
    buttons.push(button);
    button.type = "button";
    button.append(swatch(line), line.name);
    button.setAttribute("aria-pressed", pressed[i]);
    button.addEventListener("click", () => { pressed[i] = !pressed[i]; press(); });
    button.addEventListener("dblclick", () => alone(i));
    (line.shown ? legend : more).append(button);
  });
  legend.append(...legend.querySelectorAll("details"));
  dark.addEventListener("change", () => {
    buttons.forEach((button, i) => button.firstChild.replaceWith(swatch(chart.lines[i])));
    draw();
  });
  return draw();
}

/** Return what a cell is sorted by: its first number, or its text; a missing value is null. */
function sortKey(row, column) {
  const text = row.cells[column].textContent.trim();
  if (text === "" || text === "-") return null;
  const number = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? text : number;
}

function compared(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

/** Sort the rows of a table by a column: ascending, then descending; missing values come last. */
function sortTable(head) {
  const table = head.closest("table");
  const isAscending = head.getAttribute("aria-sort") !== "ascending";
  table.querySelectorAll("thead th").forEach((other) => other.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
  const keyed = [...table.tBodies[0].rows].map((row) => [sortKey(row, head.cellIndex), row]);
  const present = keyed.filter(([key]) => key !== null).sort(([a], [b]) => compared(a, b));
  if (!isAscending) present.reverse();
  const missing = keyed.filter(([key]) => key === null);
  table.tBodies[0].append(...[...present, ...missing].map(([, row]) => row));
}

document.querySelectorAll(".results thead th").forEach((head) => {
  head.querySelector("button").addEventListener("click", () => sortTable(head));
});

async function drawAll() {
  await loadLibrary();
  await Promise.all([...document.querySelectorAll("figure.interactive")].map(drawChart));
}

drawAll().then(
  () => { document.documentElement.dataset.drawn = "true"; },
  (error) => {
    document.querySelectorAll(".chart").forEach((place) => { place.textContent = `This browser cannot draw the chart: ${error.message}. The table has its numbers.`; });
  },
);
