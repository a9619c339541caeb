"use strict";
// The table of cases: filtered, sorted, a page at a time; and the dialog with a case's pictures.
const data = JSON.parse(document.getElementById("cases-data").textContent);
const PAGE = 25, ANY = "any", FAILED = "all failures";
const body = document.querySelector("table.cases tbody"), heads = document.querySelector("table.cases thead tr");
const filters = document.querySelector(".filters"), dialog = document.querySelector("dialog");
const dice = data.columns.findIndex((column) => column.name === "Dice");
const state = { sorted: dice < 0 ? null : dice, descending: false, shown: PAGE, chosen: new Map(), name: "" };
const failure = data.columns.findIndex((column) => column.name === "failure");

function make(name, attributes, ...children) {
  const svg = ["svg", "image", "path"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function drawPanel(picture, name, masks, dashed) {
  const [width, height] = picture.size;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name },
    make("image", { href: picture.uri, width, height }));
  for (const [index, d] of masks) {
    const { color } = data.classes[index];
    svg.append(make("path", { d, class: "outline halo" }),
      make("path", { d, class: "outline line", fill: color, stroke: color }));
  }
  for (const [, d] of dashed) svg.append(make("path", { d, class: "outline dash" }));
  return svg;
}

function drawPanels(name) {
  const picture = data.pictures[name], panels = make("div", { class: "panels" });
  const parts = [["image", [], []], ["truth", picture.truth, []], ["prediction", picture.prediction, picture.truth]];
  for (const [what, masks, dashed] of parts) {
    panels.append(make("div", {}, drawPanel(picture, `${what} of ${name}`, masks, dashed), make("span", {}, what)));
  }
  return panels;
}

const show = (value, { digits }) =>
  value === null ? "–" : digits === null ? value : value.toFixed(digits).replace("-", "−");

function select() {
  const rows = data.rows.filter((row) => row[0].toLowerCase().includes(state.name) &&
    [...state.chosen].every(([i, value]) => value === ANY || row[i] === value || (value === FAILED && row[i])));
  if (state.sorted === null) return rows;
  const i = state.sorted, sign = state.descending ? -1 : 1;
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  // what has no value comes last both ways
  return rows.sort((a, b) => (a[i] === null) - (b[i] === null) || (a[i] === null ? 0 : sign * compare(a[i], b[i])));
}

function render() {
  const rows = select(), shown = rows.slice(0, state.shown);
  body.replaceChildren(...shown.map((row, i) => {
    const line = make("tr", {});
    if (heads.querySelector(".picture")) {
      const open = () => openCase(rows, i);
      line.append(make("td", { class: "picture" }, ...(row[0] in data.pictures
        ? [make("button", { class: "open", "aria-label": `enlarge ${row[0]}`, onclick: open }, drawPanels(row[0]))] : [])));
    }
    data.columns.forEach((column, j) => {
      const kind = column.digits === null ? "text" : "number";
      line.append(make("td", { class: j === failure ? "text failed" : kind }, show(row[j], column)));
    });
    return line;
  }));
  document.querySelector("[role=status]").textContent = `${shown.length} of ${rows.length} rows`;
  document.querySelector(".more").hidden = shown.length === rows.length;
  [...heads.querySelectorAll("th[data-column]")].forEach((head) => {
    if (Number(head.dataset.column) !== state.sorted) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
  });
}

function openCase(rows, i) {
  const row = rows[i], name = row[0];
  const text = data.columns.map((column, j) => [column.name, show(row[j], column)]).slice(1);
  const step = (by) => (event) => {
    openCase(rows, i + by);
    const buttons = [...dialog.querySelectorAll("nav button")];
    (buttons.find((button) => button.textContent === event.target.textContent) ?? buttons.at(-1)).focus();
  };
  dialog.replaceChildren(make("h2", { id: "case-name" }, name), drawPanels(name),
    make("p", {}, text.filter(([, value]) => value).map((pair) => pair.join(": ")).join("; ")),
    make("p", { class: "note" }, "The dashed white line in the prediction is the truth."),
    make("nav", { "aria-label": "cases" },
      ...(i > 0 ? [make("button", { onclick: step(-1) }, "previous")] : []),
      ...(i + 1 < rows.length ? [make("button", { onclick: step(1) }, "next")] : []),
      make("button", { onclick: () => dialog.close() }, "close")));
  if (!dialog.open) dialog.showModal();
}

function addFilters() {
  data.columns.forEach((column, i) => {
    const values = [...new Set(data.rows.map((row) => row[i]))].filter(Boolean).sort();
    if (!column.filter || (i !== failure && values.length < 2)) return;
    const choices = i === failure ? [ANY, FAILED, ...data.failures] : [ANY, ...values];
    const choose = (event) => { state.chosen.set(i, event.target.value); state.shown = PAGE; render(); };
    filters.append(make("label", {}, column.name,
      make("select", { onchange: choose }, ...choices.map((value) => make("option", {}, value)))));
  });
  const search = (event) => { state.name = event.target.value.toLowerCase(); state.shown = PAGE; render(); };
  filters.append(make("label", {}, "case has", make("input", { type: "search", oninput: search })));
}

heads.querySelectorAll("th[data-column]").forEach((head) => {
  head.querySelector("button").addEventListener("click", () => {
    const column = Number(head.dataset.column);
    state.descending = state.sorted === column && !state.descending;
    state.sorted = column;
    render();
  });
});
document.querySelector(".more").addEventListener("click", () => { state.shown += PAGE; render(); });
document.querySelectorAll(".worst button.open").forEach((button) => {
  const rows = data.rows.filter((row) => row[0] === button.dataset.case);
  button.addEventListener("click", () => openCase(rows, 0));
});
addFilters();
render();
