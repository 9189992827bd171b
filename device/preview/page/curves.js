// The curves of the last minute.

import { at, bytes, milliseconds, percent, say, whereEarly } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120; // points of a minute
const HEIGHT = 100;
const PLOT = 84; // above the lanes of attack and DefQ
const KEYS = [["a", "attack"], ["d", "DefQ"], ["h", "host down"]];

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value) * power;
}

function runs(flags) {
  const found = [];
  flags.forEach((flag, index) => {
    if (!flag) return;
    const last = found[found.length - 1];
    if (last && last[1] === index) last[1] = index + 1;
    else found.push([index, index + 1]);
  });
  return found;
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function build(holder) {
  holder.append(shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }));
  for (const [name, text] of Object.entries({ top: "", then: "60 s ago", key: "", now: "now" })) {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = text;
    holder.append(span);
  }
  for (const [name, text] of KEYS) {
    const mark = document.createElement("b");
    mark.className = name;
    mark.textContent = text;
    holder.querySelector(".key").append(mark);
  }
}

function draw(id, values, history, most, top, summary) {
  const holder = at(id);
  if (!holder.firstChild) build(holder);
  const svg = holder.querySelector("svg");
  svg.textContent = "";
  svg.setAttribute("aria-label", summary);
  holder.querySelector(".top").textContent = top;
  holder.querySelector(".h").hidden = !history.host_down.includes(1);
  const first = WIDTH - values.length;
  const x = (index) => first + index + 0.5;
  const y = (value) => PLOT * (1 - Math.min(value / most, 1));
  const band = (name, [from, to], top, height) => svg.append(shape("rect", { class: name, x: first + from, y: top, width: to - from, height }));
  for (const run of runs(history.attack)) {
    band("under-attack", run, 0, PLOT);
    band("lane-attack", run, PLOT + 4, 4);
  }
  for (const run of runs(history.defq)) band("lane-defq", run, PLOT + 11, 4);
  for (const run of runs(history.host_down)) {
    band("while-down", run, 0, PLOT);
    band("lane-down", run, 0, 4);
  }
  for (const line of [0, PLOT / 2, PLOT]) svg.append(shape("line", { class: "grid", x1: 0, x2: WIDTH, y1: line, y2: line }));
  for (const [from, to] of runs(values.map((value) => value !== null))) {
    const points = values.slice(from, to).map((value, offset) => `${x(from + offset)} ${y(value).toFixed(2)}`);
    svg.append(shape("path", { class: "area", d: `M${x(from)} ${PLOT}L${points.join("L")}L${x(to - 1)} ${PLOT}Z` }));
    svg.append(shape("path", { class: "line", d: `M${points.join("L")}` }));
  }
}

function trafficNow(stats) {
  if (!stats.host) return "no host";
  return stats.host_down_s === null ? `${bytes(stats.recent.bytes_per_s)}/s` : "no answer";
}

export function showCurves(stats) {
  const { recent, history } = stats;
  const traffic = trafficNow(stats);
  say("now-share", percent(recent.left_share));
  say("now-bytes", traffic);
  say("now-ms", milliseconds(recent.latency_ms));
  say("payload", stats.host ? `as ${stats.payload === "auto" ? "auto: the fastest payload form" : stats.payload}` : "");
  const mostBytes = nice(1.15 * Math.max(...history.bytes_per_s, 1000));
  const mostMs = nice(1.15 * Math.max(...history.latency_ms.map((each) => each || 0), 0.5));
  draw("plot-share", history.left_share, history, 1, "100 %", `${percent(recent.left_share)} of frames leave ${whereEarly(stats)} now`);
  draw("plot-bytes", history.bytes_per_s, history, mostBytes, `${bytes(mostBytes)}/s`, `traffic to the host now: ${traffic}`);
  draw("plot-ms", history.latency_ms, history, mostMs, milliseconds(mostMs), `median latency ${milliseconds(recent.latency_ms)} now`);
}
