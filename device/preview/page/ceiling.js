// The line about the ceiling: how high the level is, and what was sent and not sent.

import { at, bytes, percent } from "./text.js";
import { sayWithWords } from "./words.js";

function mostSent({ most_sent: most, bound }) {
  const windows = Object.keys(most).map((length) => `of ${length}: ${most[length]}${bound ? ` (bound ${bound[length]})` : ""}`);
  return `most sent ${windows.join(", ")}`;
}

export function showCeiling(ceiling) {
  at("ceiling").hidden = ceiling === null;
  if (ceiling === null) return;
  const { level, threshold, share, capped_frames: capped, bytes_per_s: rate } = ceiling;
  const limits = [share === null ? "" : percent(share), rate === null ? "" : `${bytes(rate)}/s`].filter(Boolean).join(", ");
  const told = `level ${level.toFixed(2)} of ${threshold.toFixed(2)}`;
  sayWithWords("ceiling-text", `Ceiling ${limits}: ${told} · ${capped} capped · ${mostSent(ceiling)}`);
  at("gauge").setAttribute("aria-label", told);
  at("gauge").firstElementChild.style.width = `${(100 * level) / threshold}%`;
}
