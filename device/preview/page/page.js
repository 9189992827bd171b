// The preview's page: asks the device for its figures four times a second and shows them.

import { showCeiling } from "./ceiling.js";
import { showComparison } from "./comparison.js";
import { showCurves } from "./curves.js";
import { showExits } from "./exits.js";
import { startPictures } from "./pictures.js";
import { deviceAnswered, showGone, showState } from "./liveness.js";
import { showSwitches, startSwitches } from "./switches.js";
import { at, needsNoHost, percent, say, sayWithUnit, whereEarly } from "./text.js";
import { sayWithWords, startWords } from "./words.js";

const POLL_MS = 250;
const PATIENCE_MS = 4000;

function show(stats) {
  showState(stats);
  showFacts(stats);
  showSwitches(stats);
  showMonitor(stats.monitor, stats.defq);
  showCeiling(stats.ceiling);
  showNewest(stats);
  showTiles(stats);
  showComparison(stats);
  if (!stats.recent) return;
  showStory(stats);
  showExits(stats);
  showCurves(stats);
}

function showFacts(stats) {
  say("source", stats.source || "");
  say("bundle", stats.bundle || "");
  say("engine", stats.engine || "");
  sayWithWords("rad", stats.rad ? `RAD ${stats.rad}\u202f%` : "");
  at("rad").title = stats.rad ? `threshold ${stats.threshold.toFixed(2)}` : "";
  say("host", stats.host ? `host ${new URL(stats.host).host}` : needsNoHost(stats) ? "no host needed" : "no host");
  at("legend-host").hidden = needsNoHost(stats);
  say("curve-left", `Leave ${whereEarly(stats)}`);
  say("seen-left", `leave ${whereEarly(stats)}`);
}

function showNewest({ newest, frames }) {
  if (!newest) return;
  const place = newest.source === "fallback" ? (newest.capped ? "capped" : "fallback") : `exit ${newest.exit} ${newest.source === "edge" ? "on the device" : "at the host"}`;
  const truth = newest.truth === null ? "" : newest.wrong ? `, wrong: it is ${newest.truth}` : ", correct";
  say("decision", `Frame ${frames}: ${newest.label}, confidence ${percent(newest.confidence)}, ${place}${truth}`);
  at("decision").classList.toggle("wrong", newest.wrong);
}

function showTiles(stats) {
  const { recent } = stats;
  sayWithUnit("dropped", String(stats.dropped), stats.skipped ? `${stats.skipped} skipped` : "");
  if (stats.power_w === null) sayWithUnit("power", "–", "no sensor");
  else sayWithUnit("power", `${stats.power_w.toFixed(stats.power_w < 10 ? 2 : 1)} W`, "");
  at("power").title = stats.power || "";
  if (!recent) return;
  sayWithUnit("rate", recent.frames_per_s.toFixed(recent.frames_per_s < 10 ? 1 : 0), "a second");
  say("t3-er", percent(recent.t3_er));
  say("efcy", recent.efcy === null ? "–" : recent.efcy.toFixed(2));
  sayWithUnit("accuracy", percent(recent.accuracy), accuracyOf(stats));
}

function accuracyOf({ recent, newest }) {
  if (recent.accuracy !== null) return recent.unanswered ? "of answered" : "";
  return newest && newest.truth === null ? "classes unknown" : "";
}

function storyOf(stats) {
  const { newest, attack } = stats;
  const attacked = newest.attacked ? "under attack" : attack.on ? "the attack is on, and frames come clean" : "no attack";
  const behind = { none: "", defq: ", behind DefQ", gated: ", behind gated DefQ" }[newest.defence];
  return `of frames leave ${whereEarly(stats)}: ${attacked}${behind}`;
}

function showStory(stats) {
  const { recent, newest } = stats;
  if (!newest) return;
  const story = document.querySelector(".story");
  const defended = newest.defence !== "none";
  story.classList.toggle("attacked", newest.attacked && !defended);
  story.classList.toggle("defended", defended);
  say("share", percent(recent.left_share));
  say("sentence", stats.ended ? `of frames left ${whereEarly(stats)} at the end` : storyOf(stats));
}

function rungOf({ rung, changed_at: frame }) {
  const since = frame === null ? "" : ` since frame ${frame}`;
  return {
    peace: "DefQ follows and is off",
    defq: `DefQ follows and is on${since}`,
    twin: `the hardened twin answers${since}, because frames left late behind DefQ too: the attacker is likely to know it`,
  }[rung];
}

function showMonitor(monitor, defq) {
  const alarms = monitor.alarms ? ` · ${monitor.alarms} alarm${monitor.alarms > 1 ? "s" : ""}` : "";
  const text = {
    absent: "Monitor: none in this bundle",
    learning: "Monitor: learning what is usual here",
    ok: "Monitor: ok",
    suspected: "Monitor: attack suspected",
  }[monitor.state];
  say("monitor", text + (defq.mode === "auto" ? `, ${rungOf(defq)}` : "") + alarms);
  at("monitor").classList.toggle("suspected", monitor.state === "suspected");
}

async function poll() {
  if (!document.hidden) {
    const patience = new AbortController();
    const alarm = setTimeout(() => patience.abort(), PATIENCE_MS);
    try {
      const answer = await fetch("/stats", { signal: patience.signal });
      const content = await answer.json();
      deviceAnswered();
      if (answer.ok) show(content);
      else showGone(content.error);
    } catch (error) {
      showGone("");
    }
    clearTimeout(alarm);
  }
  setTimeout(poll, POLL_MS);
}

startWords();
startSwitches();
startPictures();
poll();
