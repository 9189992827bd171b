// The table that sets the conditions beside one another.

import { at, bytes, energy, milliseconds, percent, say } from "./text.js";

const rowOf = (attacked, defence) => document.querySelector(`[data-condition="${attacked ? "attacked" : "clean"} ${defence}"]`);

function traffic(row, payload) {
  const text = bytes(row.bytes_a_frame);
  const asNamed = row.payloads.every((form) => form === payload);
  return asNamed ? text : `${text} ${row.payloads.join(", ")}`; // not like with like: say so
}

export function showComparison(stats) {
  for (const name of ["none", "defq", "gated"]) {
    const hidden = name === "gated" && "gated" in stats.defq.unavailable;
    for (const attacked of [false, true]) rowOf(attacked, name).hidden = hidden || (attacked && !stats.attack.available);
  }
  for (const row of stats.comparison) {
    const cells = rowOf(row.attacked, row.defence).querySelectorAll("td");
    const figures = [
      percent(row.left_share),
      row.efcy === null ? "–" : row.efcy.toFixed(2),
      stats.host ? traffic(row, stats.payload) : "–",
      milliseconds(row.latency_ms),
      percent(row.accuracy),
      energy(row.energy_mj),
      String(row.frames),
    ];
    figures.forEach((text, index) => {
      if (cells[index].textContent !== text) cells[index].textContent = text;
    });
  }
  say("seen-payload", stats.host && stats.payload !== "auto" ? `, ${stats.payload}` : "");
  at("seen-energy").title = stats.power_w === null ? "no power sensor" : `mean power of the ${stats.power_scope} x time from frame to frame`;
  const current = stats.newest && !stats.ended && stats.host_down_s === null ? rowOf(stats.newest.attacked, stats.newest.defence) : null;
  for (const row of document.querySelectorAll("[data-condition]")) row.classList.toggle("current", row === current);
}
