"use strict";
// Draws the panels of GET /api/dashboard. It keeps nothing in the browser and puts no text into the page as HTML.

const LINES = 8;
const FEW = 4;
const DASHES = [[], [6, 3], [2, 2], [9, 3, 2, 3], [], [6, 3], [2, 2], [9, 3, 2, 3]];
const EARLY_S = 30;
const HEIGHT = 180;

const at = (id) => document.getElementById(id);
const kept = at("kept") && JSON.parse(at("kept").textContent);
const charts = new Map();
const live = { on: true, timer: 0, turn: 0 };
let credentials = null;
let board = null;

function made(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// ---- words

function shortNumber(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${trimmed(value / 1e9)} G`;
  if (size >= 1e6) return `${trimmed(value / 1e6)} M`;
  if (size >= 1e4) return `${trimmed(value / 1e3)} k`;
  return trimmed(value);
}

function trimmed(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3))) || "0";
}

function duration(value) {
  if (value === 0) return "0 s";
  if (value < 1) return `${trimmed(value * 1000)} ms`;
  if (value < 120) return `${trimmed(value)} s`;
  if (value < 7200) return `${trimmed(value / 60)} min`;
  if (value < 172800) return `${trimmed(value / 3600)} h`;
  return `${trimmed(value / 86400)} d`;
}

function said(value, unit) {
  if (unit === "s") return duration(value);
  if (unit === "%") return `${trimmed(value)} %`;
  return unit ? `${shortNumber(value)} ${unit}` : shortNumber(value);
}

// Where nothing happened there is nothing to show; where it is not known whether anything did, that is said.
function lacking(panel) {
  return panel.known && (panel.sparse || !panel.lines.length) ? "–" : "UNKNOWN";
}

function shown(value, panel) {
  return value === null || value === undefined ? lacking(panel) : said(value, panel.unit);
}

function clock(seconds, withDay) {
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  if (withDay) Object.assign(options, { month: "short", day: "numeric" });
  return new Intl.DateTimeFormat([], options).format(new Date(seconds * 1000));
}

const lastOf = (line) => line.values.slice(-2).reverse().find((value) => value !== null) ?? null;
const known = (line) => line.values.filter((value) => value !== null);

// Where there are many lines, those that are 0 throughout are only counted.
function quieted(found) {
  for (const panel of found.panels) {
    panel.idle = 0;
    if (panel.lines.length <= FEW) continue;
    const told = panel.lines.filter((line) => line.values.some((value) => value));
    const lines = told.length ? told : panel.lines.slice(0, 1);
    if (lines.length === panel.lines.length) continue;
    panel.idle = panel.lines.length - lines.length + panel.more; // the highest are shown: what is left out is not higher
    panel.more = 0;
    panel.lines = lines;
  }
  return found;
}

function leftOut(panel, more) {
  const parts = [];
  if (more > 0) parts.push(`${more} lower ${more === 1 ? "one" : "ones"}`);
  if (panel.idle) parts.push(`${panel.idle} more, all 0`);
  return parts.length ? `and ${parts.join(", and ")}` : "";
}

// ---- asking

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (credentials) headers.Authorization = `Bearer ${credentials.token}`;
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
}

async function reason(answer) {
  try {
    const problem = await answer.json();
    return problem.detail || problem.title || `The station answered ${answer.status}.`;
  } catch {
    return `The station answered ${answer.status}.`;
  }
}

async function pair(path, body) {
  const head = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers: head, body: JSON.stringify(body), credentials: "omit" });
  if (!answer.ok) throw Object.assign(new Error(await reason(answer)), { status: answer.status });
  const tokens = await answer.json();
  return {
    token: tokens.access_token,
    refresh: tokens.refresh_token,
    until: Date.now() + 1000 * Math.max(1, tokens.expires_in - EARLY_S),
  };
}

// A refresh token is good for one use; a second one at the same time would end the session.
async function renewed() {
  const who = credentials;
  if (!who || !who.refresh || Date.now() < who.until) return;
  who.renewal = who.renewal || pair("/api/auth/refresh", { refresh_token: who.refresh }).then((made) => {
    if (credentials === who) credentials = made; // who has left meanwhile stays away
  });
  await who.renewal;
}

async function load() {
  clearTimeout(live.timer);
  const turn = ++live.turn;
  let wait = 15;
  try {
    await renewed();
    const answer = await ask(`/api/dashboard?window=${encodeURIComponent(at("window").value)}`);
    if (turn !== live.turn) return;
    if (answer.status === 401 || answer.status === 403) {
      leave(await reason(answer));
      return;
    }
    if (!answer.ok) {
      wait = Number(answer.headers.get("Retry-After")) || wait;
      throw new Error(await reason(answer));
    }
    board = quieted(await answer.json());
    if (turn !== live.turn) return;
    wait = Math.max(5, Math.min(60, board.step_s));
    draw();
  } catch (error) {
    if (turn !== live.turn || !credentials) return;
    if (error.status === 401 || error.status === 403) {
      leave(error.message);
      return;
    }
    if (credentials.renewal) credentials.renewal = null;
    const since = board ? ` This is what was known at ${clock(Date.parse(board.at) / 1000)}.` : "";
    notice(`The dashboard cannot be brought up to date: ${error.message}.${since}`);
    at("board").hidden = false;
  }
  if (live.on && credentials) live.timer = setTimeout(load, wait * 1000);
}

// ---- coming and going

function enter(token) {
  credentials = token ? { token } : credentials;
  at("refusal").textContent = "";
  at("enter").hidden = true;
  at("controls").hidden = false;
  at("status").textContent = "Loading…";
  load();
}

function leave(why = "") {
  clearTimeout(live.timer);
  live.turn += 1;
  if (credentials && credentials.refresh && !why) {
    ask("/api/auth/logout", { method: "POST" }).catch(() => {});
  }
  credentials = null;
  board = null;
  for (const one of charts.values()) one.chart.destroy();
  charts.clear();
  for (const id of ["panels", "overview", "processes", "remarks"]) at(id).replaceChildren();
  at("board").hidden = at("controls").hidden = true;
  at("enter").hidden = false;
  at("status").textContent = "";
  at("refusal").textContent = why;
  at("key").focus();
}

// ---- drawing

function notice(text) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}

function draw() {
  at("board").hidden = false;
  notice(unfinished());
  const over = clock(Date.parse(board.at) / 1000, Boolean(kept));
  at("status").textContent = `${kept ? "As it was at" : "As of"} ${over}`;
  drawOverview();
  drawRemarks();
  drawProcesses();
  for (const panel of board.panels) drawPanel(panel);
}

function unfinished() {
  if (board.recorded_s === null) {
    return "There is no history yet: a station reads all processes every few seconds and writes down what it finds.";
  }
  if (board.recorded_s > 60) {
    return `Nothing was written down for ${duration(board.recorded_s)}: what is going on now is not known.`;
  }
  const silent = board.processes.filter((one) => one.reason);
  if (!silent.length) return "";
  const names = silent.map((one) => `${one.service || one.target} (${one.reason})`).join(", ");
  return `Not read: ${names}. What those would add is not known; it is a gap, and no zero.`;
}

function state(panel) {
  const values = panel.lines.map(lastOf);
  if (panel.name === "processes") {
    const [up, expected] = values;
    return up === null || up === undefined ? "unknown" : up < expected ? "bad" : "";
  }
  if (!values.length || values.every((one) => one === null)) return panel.known ? "" : "unknown";
  return panel.bad_above !== null && values.some((one) => one > panel.bad_above) ? "bad" : "";
}

function drawOverview() {
  const tiles = board.panels.filter((panel) => panel.overview).map((panel) => {
    const tile = made("li", { className: state(panel) }, made("h3", { textContent: panel.title }));
    const list = made("dl");
    if (panel.name === "processes" && panel.lines.length) {
      const [up, expected] = panel.lines.map(lastOf);
      tile.append(made("span", { className: "lone", textContent: up === null ? "UNKNOWN" : `${up} of ${expected} up` }));
    } else if (!panel.lines.length) {
      tile.append(made("span", { className: "lone", textContent: lacking(panel) }));
    } else {
      for (const line of panel.lines.slice(0, FEW)) {
        list.append(made("dt", { textContent: line.name || "all" }));
        list.append(made("dd", { textContent: shown(lastOf(line), panel) }));
      }
      tile.append(list);
      const rest = leftOut(panel, Math.max(0, panel.lines.length - FEW) + panel.more);
      if (rest) tile.append(made("p", { className: "hint", textContent: rest }));
    }
    return tile;
  });
  at("overview").replaceChildren(...tiles);
}

function drawRemarks() {
  at("remarks-part").hidden = !board.remarks.length;
  at("remarks").replaceChildren(...board.remarks.map((one) => made("tr", {},
    made("th", { scope: "row", textContent: one.check }),
    made("td", { className: one.verdict === "failed" ? "bad-text" : "", textContent: one.verdict }),
    made("td", { textContent: one.said }),
    made("td", { textContent: one.action }))));
}

function drawProcesses() {
  at("processes").replaceChildren(...board.processes.map((one) => made("tr", {},
    made("th", { scope: "row", textContent: one.service || "not known" }),
    made("td", { textContent: one.target }),
    made("td", { className: one.reason ? "bad-text" : "", textContent: one.reason || "yes" }))));
}

function frameOf(panel) {
  const title = made("h2", { id: `title-${panel.name}` }, panel.title, " ");
  if (panel.unit) title.append(made("small", { textContent: panel.unit }));
  const frame = {
    box: made("div", { className: "chart", tabIndex: 0 }),
    moment: made("th", { scope: "col", className: "number", textContent: "last" }),
    rows: made("tbody"),
    more: made("p", { className: "hint", hidden: true }),
    all: made("div", { className: "scroll", tabIndex: 0, role: "region" }),
    chart: null,
    cells: [],
    panel,
  };
  frame.box.setAttribute("role", "img");
  frame.all.setAttribute("aria-label", `All values: ${panel.title}`);
  const head = made("tr", {}, made("th", { scope: "col", textContent: "line" }), frame.moment,
    made("th", { scope: "col", className: "number", textContent: "lowest" }),
    made("th", { scope: "col", className: "number", textContent: "highest" }));
  frame.details = made("details", {}, made("summary", { textContent: "All values" }), frame.all);
  frame.details.addEventListener("toggle", () => listAll(frame));
  frame.box.addEventListener("keydown", (event) => step(frame, event));
  frame.box.addEventListener("blur", () => frame.chart && frame.chart.setCursor({ left: -10, top: -10 }));
  const section = made("section", { className: "panel" }, title, made("p", { className: "about", textContent: panel.about }),
    frame.box, made("table", {}, made("caption", { className: "quiet", textContent: panel.title }),
      made("thead", {}, head), frame.rows), frame.more, frame.details);
  section.setAttribute("aria-labelledby", title.id);
  frame.section = section;
  at("panels").append(section);
  new ResizeObserver(() => {
    const width = Math.floor(frame.box.clientWidth);
    if (frame.chart && width && width !== frame.chart.width) frame.chart.setSize({ width, height: HEIGHT });
  }).observe(frame.box);
  return frame;
}

function drawPanel(panel) {
  let one = charts.get(panel.name);
  if (!one) {
    one = { frame: frameOf(panel), lines: null, chart: { destroy() {} } };
    charts.set(panel.name, one);
  }
  const frame = one.frame;
  frame.panel = panel;
  frame.section.classList.toggle("idle", !panel.lines.some((line) => known(line).length));
  legend(frame);
  listAll(frame);
  frame.box.setAttribute("aria-label", summary(panel));
  const data = [board.times, ...panel.lines.map((line) => line.values)];
  const lines = JSON.stringify(panel.lines.map((line) => line.name));
  if (one.lines === lines && frame.chart) {
    frame.chart.setData(data);
    return;
  }
  one.chart.destroy();
  frame.box.replaceChildren();
  frame.chart = null;
  one.lines = lines;
  if (!panel.lines.some((line) => known(line).length)) {
    one.lines = null;
    one.chart = { destroy() {} };
    frame.box.replaceChildren(made("p", { className: "empty", textContent: panel.known ? "Nothing of the kind in this window." : "Not known." }));
    return;
  }
  one.chart = frame.chart = new uPlot(options(frame), data, frame.box);
}

function options(frame) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 } };
  return {
    width: Math.max(200, Math.floor(frame.box.clientWidth)),
    height: HEIGHT,
    legend: { show: false },
    cursor: { sync: { key: "fluxa" }, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { time: true }, y: { range: (_chart, _low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [{ ...axis }, { ...axis, size: 64, values: (_chart, ticks) => ticks.map((one) => axisText(one, frame.panel.unit)) }],
    series: [{}, ...frame.panel.lines.map((line, place) => ({
      label: line.name,
      stroke: colour(`--line-${(place % LINES) + 1}`),
      dash: DASHES[place % LINES],
      width: 1.75,
      spanGaps: false,
    }))],
    hooks: { setCursor: [(chart) => point(frame, chart.cursor.idx)] },
  };
}

function axisText(value, unit) {
  return unit === "s" ? duration(value) : unit === "%" ? `${trimmed(value)} %` : shortNumber(value);
}

function legend(frame) {
  const { panel } = frame;
  frame.cells = panel.lines.map(() => made("td", { className: "number" }));
  frame.rows.replaceChildren(...panel.lines.map((line, place) => {
    const values = known(line);
    const span = values.length ? [Math.min(...values), Math.max(...values)] : [null, null];
    return made("tr", {}, made("th", { scope: "row" }, swatch(place), line.name || "all"), frame.cells[place],
      made("td", { className: "number", textContent: shown(span[0], panel) }),
      made("td", { className: "number", textContent: shown(span[1], panel) }));
  }));
  frame.more.textContent = leftOut(panel, panel.more);
  frame.more.hidden = !frame.more.textContent;
  point(frame, frame.chart ? frame.chart.cursor.idx : null);
}

function swatch(place) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "line");
  for (const [name, value] of Object.entries({ class: "swatch", viewBox: "0 0 24 10", "aria-hidden": "true" })) picture.setAttribute(name, value);
  const shape = { x1: 0, x2: 24, y1: 5, y2: 5, "stroke-width": 3, "stroke-dasharray": DASHES[place % LINES].join(" ") };
  for (const [name, value] of Object.entries(shape)) line.setAttribute(name, value);
  line.style.stroke = `var(--line-${(place % LINES) + 1})`;
  picture.append(line);
  return picture;
}

function point(frame, index) {
  const { panel } = frame;
  const there = index !== null && index !== undefined && index < board.times.length;
  frame.moment.textContent = there ? clock(board.times[index]) : "last";
  panel.lines.forEach((line, place) => {
    if (!frame.cells[place]) return;
    const value = there ? line.values[index] : lastOf(line);
    frame.cells[place].textContent = there && value === null ? "–" : shown(value, panel);
  });
}

function step(frame, event) {
  const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (event.key === "Escape" && frame.chart) frame.chart.setCursor({ left: -10, top: -10 });
  if (move === undefined || !frame.chart) return;
  event.preventDefault();
  const last = board.times.length - 1;
  const from = frame.chart.cursor.idx ?? last;
  const index = Math.min(last, Math.max(0, from + move));
  frame.chart.setCursor({ left: frame.chart.valToPos(board.times[index], "x"), top: HEIGHT / 3 });
}

function summary(panel) {
  const parts = panel.lines.map((line) => {
    const values = known(line);
    const highest = values.length ? `, highest ${said(Math.max(...values), panel.unit)}` : "";
    return `${line.name || "all"} ${shown(lastOf(line), panel)}${highest}`;
  });
  return `${panel.title}: ${parts.join("; ") || lacking(panel)}. Arrow keys read single values.`;
}

function listAll(frame) {
  if (!frame.details.open || !board) {
    frame.all.replaceChildren();
    return;
  }
  const { panel } = frame;
  const names = panel.lines.map((line) => made("th", { scope: "col", className: "number", textContent: line.name || "all" }));
  const rows = board.times.map((time, index) => made("tr", {},
    made("th", { scope: "row", textContent: clock(time, board.window_s > 43200) }),
    ...panel.lines.map((line) => made("td", { className: "number", textContent: line.values[index] === null ? "–" : said(line.values[index], panel.unit) }))));
  frame.all.replaceChildren(made("table", {}, made("thead", {}, made("tr", {}, made("th", { scope: "col", textContent: "time" }), ...names)),
    made("tbody", {}, ...rows.reverse())));
}

// ---- beginning

function redraw() {
  for (const one of charts.values()) one.lines = null;
  if (board) draw();
}

function begin() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (kept) {
    board = quieted(kept);
    draw();
    return;
  }
  at("by-key").addEventListener("submit", (event) => {
    event.preventDefault();
    const token = at("key").value.trim();
    at("key").value = "";
    enter(token);
  });
  at("by-login").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      credentials = await pair("/api/auth/login", { name: at("name").value.trim(), password: at("password").value });
      at("password").value = "";
      enter();
    } catch (error) {
      at("refusal").textContent = error.message;
    }
  });
  at("window").addEventListener("change", load);
  at("leave").addEventListener("click", () => leave());
  at("live").addEventListener("click", () => {
    live.on = !live.on;
    at("live").setAttribute("aria-pressed", String(live.on));
    if (live.on) load();
    else clearTimeout(live.timer);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(live.timer);
    else if (credentials && live.on) load();
  });
  at("enter").hidden = false;
  at("key").focus();
}

begin();
