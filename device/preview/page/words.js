// Words that not everybody knows, explained when they are pointed at, tapped or reached with the keyboard.

import { at } from "./text.js";

const MEANINGS = {
  RAD: "Relative accuracy drop: how much of the final classifier's accuracy may be given up for earlier exits. RAD 5 % picks the threshold with the lowest mean cost that keeps at least 95 % of it.",
  "L-inf": "A bound on the attack: no pixel changes by more than so much. For DeepSloth L-inf that is 8 of 255 levels.",
  EFCY: "Efficacy: the area under the share of frames that have left, over the relative cost at which they left. It is 1 if all frames leave at no cost, and 0 if all use the whole network.",
  "T3-ER": "Share of frames that leave at exits 1 to 3.",
  DefQ: "Defensive quantisation: each 8 x 8 block of each colour channel is transformed by the DCT, divided by a table, rounded, and transformed back. Gated: only frames with much colour noise.",
  DeepSloth: "A slow-down attack: it changes an image so slightly that people do not see it, and so that no exit is sure. No frame then leaves early.",
  Ceiling: "A bound on what goes to the host, whatever the frames are. A frame that stays is sent only if its confidence is below the level; every frame that is sent lowers the level, and every frame that is not raises it again, up to the threshold.",
  capped: "The ceiling kept the frame from being sent, and the last exit on the device answered it.",
  fallback: "The answer of the last exit on the device, given because the host did not answer. It counts in no mean.",
};
const KNOWN = new RegExp(`(${Object.keys(MEANINGS).join("|")})`);

let asked = null; // the word whose meaning is shown

function term(word) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "term";
  button.dataset.word = word;
  button.textContent = word;
  equip(button);
  return button;
}

function equip(button) {
  button.setAttribute("aria-describedby", "meaning");
  button.addEventListener("mouseenter", () => show(button));
  button.addEventListener("focus", () => show(button));
  button.addEventListener("click", () => show(button));
  button.addEventListener("mouseleave", hide);
  button.addEventListener("blur", hide);
}

function show(button) {
  const bubble = at("meaning");
  asked = button;
  bubble.textContent = MEANINGS[button.dataset.word];
  bubble.hidden = false;
  const box = button.getBoundingClientRect();
  const width = bubble.offsetWidth;
  bubble.style.left = `${Math.max(8, Math.min(box.left, document.documentElement.clientWidth - width - 8))}px`;
  const below = box.bottom + 6;
  const fits = below + bubble.offsetHeight < window.innerHeight;
  bubble.style.top = `${fits ? below : box.top - bubble.offsetHeight - 6}px`;
}

function hide() {
  asked = null;
  at("meaning").hidden = true;
}

// Write a text whose known words can be asked for their meaning. Nothing is touched while the text stays the same.
export function sayWithWords(id, text) {
  const element = at(id);
  if (element.dataset.said === text) return;
  element.dataset.said = text;
  if (asked && element.contains(asked)) hide();
  const parts = text.split(KNOWN).filter(Boolean);
  element.replaceChildren(...parts.map((part) => (part in MEANINGS ? term(part) : part)));
}

export function startWords() {
  for (const button of document.querySelectorAll(".term")) equip(button);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("scroll", hide, { passive: true });
}
