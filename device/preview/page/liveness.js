// Whether what the page shows is true now: the line in the header, and what turns red or grey.

import { duration, say, timeOfDay } from "./text.js";

const QUIET_S = 3; // a source of less than a frame a second gets three of its frames' time

// One of: waiting, live, host-down, quiet, ended, gone.
function stateOf(stats) {
  if (stats.ended) return ["ended", `${sentence(stats.ended)} at ${timeOfDay(stats.ended_s)}`];
  const rate = stats.recent ? stats.recent.frames_per_s : 0;
  const patience = rate ? Math.max(QUIET_S, 3 / rate) : QUIET_S;
  if (stats.frames && stats.quiet_s > patience) {
    return ["quiet", `No frame since ${timeOfDay(stats.quiet_s)}, for ${duration(stats.quiet_s)}`];
  }
  if (!stats.frames) return ["waiting", "Waiting for the first frame"];
  if (stats.host_down_s !== null) {
    return ["host-down", `The host does not answer since ${timeOfDay(stats.host_down_s)}, for ${duration(stats.host_down_s)}`];
  }
  return ["live", "live"];
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

function show(state, text) {
  document.body.dataset.state = state;
  say("link", text);
}

export function showState(stats) {
  show(...stateOf(stats));
}

let answeredMs = Date.now();

export function deviceAnswered() {
  answeredMs = Date.now();
}

export function showGone(text) {
  show("gone", text || `The device does not answer since ${timeOfDay((Date.now() - answeredMs) / 1000)}; trying again`);
}
