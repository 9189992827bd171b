// The camera's picture and what the network sees: loaded only while somebody looks.

import { at } from "./text.js";

const LENS_MS = 500;
const AGAIN_MS = 3000;
let tries = 0;

function watch() {
  const picture = at("picture");
  if (document.hidden) picture.removeAttribute("src");
  else picture.src = `/stream.mjpg?${(tries += 1)}`;
}

function drawLens(strip) {
  const canvases = [...document.querySelectorAll(".views canvas")];
  const width = strip.width / canvases.length;
  canvases.forEach((canvas, index) => {
    canvas.width = width;
    canvas.height = strip.height;
    canvas.getContext("2d").drawImage(strip, -index * width, 0);
  });
}

let lensInSight = false;

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

export function startPictures() {
  at("picture").addEventListener("error", () => {
    if (at("picture").hasAttribute("src")) setTimeout(watch, AGAIN_MS);
  });
  document.addEventListener("visibilitychange", watch);
  new IntersectionObserver((entries) => {
    lensInSight = entries[entries.length - 1].isIntersecting;
  }).observe(at("lens"));
  watch();
  lens();
}
