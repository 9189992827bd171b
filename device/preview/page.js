"use strict";

const POLL_MS = 250;
const LENS_MS = 500;
const SETTLED_MS = 5000; // the figures look back a few seconds: only then a condition counts as seen
const SVG = "http://www.w3.org/2000/svg";

const at = (id) => document.getElementById(id);
const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)}\u202f%`);

function bytes(count) {
  if (count < 1000) return `${Math.round(count)} B`;
  if (count < 1e6) return `${(count / 1000).toFixed(count < 1e4 ? 1 : 0)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

function milliseconds(value) {
  if (value === null) return "–";
  return value < 1 ? `${value.toFixed(2)} ms` : value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

function say(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

function unit(id, value, name) {
  say(id, value);
  if (name) {
    const small = document.createElement("small");
    small.textContent = ` ${name}`;
    at(id).append(small);
  }
}

// ---- the two switches

let waiting = 0; // answers to switching that are out: until then the page shows what was asked for

async function turn(wanted) {
  waiting += 1;
  try {
    const answer = await fetch("/switch", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Preview": "1" },
      body: JSON.stringify(wanted),
    });
    const content = await answer.json();
    problem(answer.ok ? "" : content.error);
    if (answer.ok) showSwitches(content);
  } catch (error) {
    problem("the device did not answer; try again");
  } finally {
    waiting -= 1;
  }
}

function problem(text) {
  say("problem", text);
  at("problem").hidden = !text;
}

function showSwitches(stats) {
  const { attack, defq } = stats;
  const button = at("attack");
  button.setAttribute("aria-checked", String(attack.on));
  button.disabled = !attack.available;
  button.querySelector(".word").textContent = attack.on ? "on" : "off";
  say("attack-text", `Attack: ${attack.text}`);
  for (const input of document.querySelectorAll("[name=defq]")) {
    input.checked = input.value === defq.mode;
    if (input.value === "auto") {
      input.disabled = !defq.auto_available;
      input.parentElement.title = defq.auto_available ? "on while the monitor suspects an attack" : "this bundle has no monitor";
    }
  }
}

at("attack").addEventListener("click", () => turn({ attack: at("attack").getAttribute("aria-checked") !== "true" }));
for (const input of document.querySelectorAll("[name=defq]")) {
  input.addEventListener("change", () => turn({ defq: input.value }));
}

// ---- exits

function buildBars(count, split) {
  const bars = at("bars");
  bars.textContent = "";
  for (let index = 0; index <= count; index += 1) {
    const item = document.createElement("li");
    item.className = index === count ? "nobody" : index < split ? "on-device" : "at-host";
    const parts = ["well", "bar", "count", "number"].map((name) => {
      const part = document.createElement("span");
      part.className = name;
      part.setAttribute("aria-hidden", "true");
      return part;
    });
    const [well, bar, number, label] = parts;
    bar.append(number);
    well.append(bar);
    label.textContent = index === count ? "none" : index === count - 1 ? "end" : count <= 16 || index % 5 === 4 || index === 0 ? index + 1 : "";
    item.append(well, label);
    bars.append(item);
  }
}

function showBars(recent, split, hasHost) {
  const histogram = recent.histogram;
  const count = histogram.length - 1;
  const items = [...at("bars").children];
  const unanswered = histogram[count];
  items[count].hidden = hasHost && !unanswered;
  const columns = count + (items[count].hidden ? 0 : 1);
  at("side-device").style.width = `calc(${(100 * split) / columns}% - 4px)`;
  at("side-host").style.width = `calc(${(100 * (columns - split)) / columns}% - 4px)`;
  say("side-host", hasHost ? "host" : "no host was named: no answer");
  const most = Math.max(...histogram, 1);
  let depth = 0;
  histogram.forEach((frames, index) => {
    depth += frames * Math.min(index + 1, count);
    const share = recent.frames ? frames / recent.frames : 0;
    const [bar, number] = [items[index].querySelector(".bar"), items[index].querySelector(".count")];
    bar.style.height = `${Math.max(frames ? 1.5 : 0, (88 * frames) / Math.max(most, recent.frames * 0.4))}%`;
    number.textContent = share >= 0.005 ? Math.round(100 * share) : "";
    const where = index === count ? "left at no exit, not answered" : `exit ${index + 1}, ${index < split ? "on the device" : "at the host"}`;
    items[index].setAttribute("aria-label", `${where}: ${percent(share)}`);
  });
  say("exits-window", `% of the last ${recent.frames} frames`);
  at("mean").hidden = !recent.frames;
  if (recent.frames) showMean(depth / recent.frames, count, columns);
}

function showMean(mean, count, columns) {
  const place = `${(100 * (mean - 0.5)) / columns}%`;
  const [mark, text] = at("mean").children;
  mark.style.left = place;
  text.style.left = place;
  text.classList.toggle("left", mean > columns * 0.6);
  text.textContent = `mean exit ${mean.toFixed(1)} of ${count}`;
}

// ---- curves

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

const WIDTH = 120; // points of a minute
const HEIGHT = 100;
const PLOT = 86; // above the lanes of attack and DefQ

function drawCurve(id, values, history, most, top, summary) {
  const holder = at(id);
  if (!holder.firstChild) {
    const names = { top: "", then: "60 s ago", key: "", now: "now" };
    holder.append(shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }));
    for (const [name, text] of Object.entries(names)) {
      const span = document.createElement("span");
      span.className = name;
      span.textContent = text;
      holder.append(span);
    }
    for (const [name, text] of [["a", "attack"], ["d", "DefQ"]]) {
      const mark = document.createElement("b");
      mark.className = name;
      mark.textContent = text;
      holder.querySelector(".key").append(mark);
    }
  }
  const svg = holder.querySelector("svg");
  svg.textContent = "";
  svg.setAttribute("aria-label", summary);
  holder.querySelector(".top").textContent = top;
  const first = WIDTH - values.length;
  const x = (index) => first + index + 0.5;
  const y = (value) => PLOT * (1 - Math.min(value / most, 1));
  for (const [from, to] of runs(history.attack)) {
    svg.append(shape("rect", { class: "under-attack", x: first + from, y: 0, width: to - from, height: PLOT }));
    svg.append(shape("rect", { class: "lane-attack", x: first + from, y: PLOT + 3, width: to - from, height: 4 }));
  }
  for (const [from, to] of runs(history.defq)) {
    svg.append(shape("rect", { class: "lane-defq", x: first + from, y: PLOT + 9, width: to - from, height: 4 }));
  }
  for (const line of [0, PLOT / 2, PLOT]) svg.append(shape("line", { class: "grid", x1: 0, x2: WIDTH, y1: line, y2: line }));
  for (const [from, to] of runs(values.map((value) => value !== null))) {
    const points = values.slice(from, to).map((value, offset) => `${x(from + offset)} ${y(value).toFixed(2)}`);
    svg.append(shape("path", { class: "area", d: `M${x(from)} ${PLOT}L${points.join("L")}L${x(to - 1)} ${PLOT}Z` }));
    svg.append(shape("path", { class: "line", d: `M${points.join("L")}` }));
  }
}

// ---- the whole page

let bars = "";
let condition = "";
let conditionSince = 0;
let sentence = "";
const seen = {}; // condition -> how often its figures were taken, and their sums

function show(stats) {
  const { recent, history, newest } = stats;
  say("source", stats.source || "");
  say("bundle", stats.bundle || "");
  say("engine", stats.engine || "");
  say("rad", stats.rad ? `RAD ${stats.rad}\u202f%` : "");
  at("rad").title = stats.rad ? `threshold ${stats.threshold.toFixed(2)}` : "";
  say("host", stats.host ? `host ${new URL(stats.host).host}` : "no host");
  if (!waiting) showSwitches(stats);
  showMonitor(stats.monitor, stats.defq);
  const built = `${stats.exits} ${stats.split}`;
  if (bars !== built) {
    buildBars(stats.exits, stats.split);
    bars = built;
  }
  if (newest) {
    const how = newest.source === "fallback" ? "did not leave, no host answered" : `exit ${newest.exit}, ${newest.source === "edge" ? "on the device" : "at the host"}`;
    say("decision", `${newest.label}, ${percent(newest.confidence)} sure · ${how} · frame ${stats.frames}`);
  }
  unit("dropped", stats.dropped, stats.skipped ? `, ${stats.skipped} skipped` : "");
  if (stats.power_w === null) unit("power", "–", "no sensor");
  else unit("power", `${stats.power_w.toFixed(stats.power_w < 10 ? 2 : 1)} W`, "");
  at("power").title = stats.power || "";
  if (!recent) return;
  showStory(stats);
  showBars(recent, stats.split, Boolean(stats.host));
  unit("rate", recent.frames_per_s.toFixed(recent.frames_per_s < 10 ? 1 : 0), "a second");
  if (recent.accuracy === null) unit("accuracy", "–", "labels unknown");
  else unit("accuracy", percent(recent.accuracy), "");
  const traffic = `${bytes(recent.bytes_per_s)}/s`;
  say("now-share", percent(recent.left_share));
  say("now-bytes", stats.host ? traffic : "no --host");
  say("now-ms", milliseconds(recent.latency_ms));
  const mostBytes = nice(1.15 * Math.max(...history.bytes_per_s, 1000));
  const mostMs = nice(1.15 * Math.max(...history.latency_ms.map((each) => each || 0), 0.5));
  drawCurve("plot-share", history.left_share, history, 1, "100 %", `${percent(recent.left_share)} of frames leave on the device now`);
  drawCurve("plot-bytes", history.bytes_per_s, history, mostBytes, `${bytes(mostBytes)}/s`, stats.host ? `${traffic} to the host now` : "no host was named with --host");
  drawCurve("plot-ms", history.latency_ms, history, mostMs, milliseconds(mostMs), `median latency ${milliseconds(recent.latency_ms)} now`);
}

function showStory(stats) {
  const { recent, attack, defq } = stats;
  const quantised = stats.newest ? stats.newest.defq : defq.active;
  const story = document.querySelector(".story");
  story.classList.toggle("attacked", attack.on && !quantised);
  story.classList.toggle("defended", quantised);
  say("share", percent(recent.left_share));
  const text = stats.ended
    ? `Stopped: ${stats.ended}`
    : attack.on
      ? quantised ? "of frames leave on the device: under attack, behind DefQ" : "of frames leave on the device: under attack"
      : quantised ? "of frames leave on the device: no attack, behind DefQ" : "of frames leave on the device: no attack";
  if (text !== sentence) say("sentence", (sentence = text));
  remember(`${Number(attack.on)}${Number(quantised)}`, recent);
}

function remember(now, recent) {
  if (now !== condition) {
    condition = now;
    conditionSince = Date.now();
    for (const row of document.querySelectorAll("[data-seen]")) row.classList.toggle("current", row.dataset.seen === now);
  }
  if (Date.now() - conditionSince < Math.max(SETTLED_MS, 1000 * recent.seconds + 1000) || !recent.frames) return;
  const values = [recent.left_share, (recent.bytes_per_s * recent.seconds) / recent.frames, recent.latency_ms];
  seen[now] = seen[now] || { times: 0, sums: [0, 0, 0] };
  seen[now].times += 1;
  values.forEach((value, index) => (seen[now].sums[index] += value));
  const cells = document.querySelector(`[data-seen="${now}"]`).querySelectorAll("td");
  [percent, bytes, milliseconds].forEach((written, index) => {
    cells[index].textContent = written(seen[now].sums[index] / seen[now].times);
  });
}

function showMonitor(monitor, defq) {
  const alarms = monitor.alarms ? ` · ${monitor.alarms} alarm${monitor.alarms > 1 ? "s" : ""}` : "";
  const text = {
    absent: "Monitor: none in this bundle",
    learning: "Monitor: learning what is usual here",
    ok: "Monitor: ok",
    suspected: "Monitor: attack suspected",
  }[monitor.state];
  say("monitor", text + (defq.mode === "auto" ? `, DefQ follows and is ${defq.active ? "on" : "off"}` : "") + alarms);
  at("monitor").classList.toggle("suspected", monitor.state === "suspected");
}

function link(state, text) {
  at("link").className = `link ${state}`;
  say("link", text);
}

async function poll() {
  if (!document.hidden) {
    const patience = new AbortController();
    const alarm = setTimeout(() => patience.abort(), 4000);
    try {
      const answer = await fetch("/stats", { signal: patience.signal });
      const content = await answer.json();
      if (answer.ok) {
        show(content);
        if (content.ended) link("", content.ended);
        else link("live", "live");
      } else link("lost", content.error);
    } catch (error) {
      link("lost", "the device does not answer; trying again");
    }
    clearTimeout(alarm);
  }
  setTimeout(poll, POLL_MS);
}

// ---- pictures: only while somebody looks

const picture = at("picture");
let tries = 0;

function watch() {
  if (document.hidden) picture.removeAttribute("src");
  else picture.src = `/stream.mjpg?${(tries += 1)}`;
}

picture.addEventListener("error", () => {
  if (picture.hasAttribute("src")) setTimeout(watch, 3000);
});
document.addEventListener("visibilitychange", watch);

let lensInSight = false;
new IntersectionObserver((entries) => {
  lensInSight = entries[entries.length - 1].isIntersecting;
}).observe(at("lens"));

function drawLens(strip) {
  const canvases = [...document.querySelectorAll(".views canvas")];
  const width = strip.width / canvases.length;
  canvases.forEach((canvas, index) => {
    canvas.width = width;
    canvas.height = strip.height;
    canvas.getContext("2d").drawImage(strip, -index * width, 0);
  });
}

function lens() {
  if (document.hidden || !lensInSight) {
    setTimeout(lens, LENS_MS);
    return;
  }
  const strip = new Image();
  strip.onload = () => {
    drawLens(strip);
    setTimeout(lens, LENS_MS);
  };
  strip.onerror = () => setTimeout(lens, 4 * LENS_MS);
  strip.src = `/view.png?${(tries += 1)}`;
}

watch();
poll();
lens();
