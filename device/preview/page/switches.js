// The two switches.

import { at, say } from "./text.js";
import { sayWithWords } from "./words.js";

let waiting = 0; // answers to switching that are out: until then the page shows what was asked for

export async function turn(wanted) {
  waiting += 1;
  try {
    const answer = await fetch("/switch", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Preview": "1" },
      body: JSON.stringify(wanted),
    });
    const content = await answer.json();
    showProblem(answer.ok ? "" : content.error);
    if (answer.ok) show(content);
  } catch (error) {
    showProblem("The device did not answer; try again");
  } finally {
    waiting -= 1;
  }
}

function showProblem(text) {
  say("problem", text);
  at("problem").hidden = !text;
}

const EXPLAINED = {
  off: "no frame is quantised",
  on: "all frames are quantised",
  gated: "frames with much colour noise are quantised",
  auto: "all frames are quantised while the monitor suspects an attack, and the hardened twin answers where that does not help",
  twin: "the hardened twin answers every frame",
};

const brief = (reason) => reason.split(";")[0].replace(/^found (--defq \w+, but )?/, "");

export function showSwitches(stats) {
  if (!waiting) show(stats);
}

function show({ attack, defq }) {
  const button = at("attack");
  button.setAttribute("aria-checked", String(attack.on));
  button.disabled = !attack.available;
  button.querySelector(".word").textContent = attack.on ? "on" : "off";
  sayWithWords("attack-text", `Attack: ${attack.text}`);
  for (const input of document.querySelectorAll("[name=defq]")) {
    const reason = defq.unavailable[input.value];
    input.checked = input.value === defq.mode;
    input.disabled = Boolean(reason);
    input.parentElement.hidden = input.value === "twin" && Boolean(reason);  // most bundles carry none
    input.parentElement.title = reason ? `not available: ${brief(reason)}` : EXPLAINED[input.value];
  }
  const asked = Object.entries(defq.unavailable).filter(([mode]) => mode !== "twin");
  const missing = asked.map(([mode, reason]) => `${mode} is not available: ${brief(reason)}`);
  sayWithWords("defq-text", `DefQ ${defq.mode}: ${EXPLAINED[defq.mode]}`);
  say("defq-missing", missing.join("; "));
}

export function startSwitches() {
  at("attack").addEventListener("click", () => turn({ attack: at("attack").getAttribute("aria-checked") !== "true" }));
  for (const input of document.querySelectorAll("[name=defq]")) {
    input.addEventListener("change", () => turn({ defq: input.value }));
  }
}
