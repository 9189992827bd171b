// The histogram of exits.

import { at, needsNoHost, percent, say, timeOfDay } from "./text.js";

const FALLBACK_WIDTH = 1.7; // of the last column, in widths of the others: its name is longer

let built = "";

function build(count, split) {
  const bars = at("bars");
  bars.textContent = "";
  for (let index = 0; index <= count; index += 1) {
    const item = document.createElement("li");
    item.className = index === count ? "nobody" : index < split ? "on-device" : "at-host";
    const [well, bar, number, label] = ["well", "bar", "count", "number"].map((name) => {
      const part = document.createElement("span");
      part.className = name;
      part.setAttribute("aria-hidden", "true");
      return part;
    });
    bar.append(number);
    well.append(bar);
    const spoken = count <= 16 || index % 5 === 4 || index === 0 || index === count - 1;
    label.textContent = index === count ? "fallback" : spoken ? index + 1 : "";
    item.append(well, label);
    bars.append(item);
  }
  bars.lastChild.style.flex = FALLBACK_WIDTH;
}

export function showExits(stats) {
  const { recent, split, exits: count } = stats;
  const now = `${count} ${split}`;
  if (now !== built) build(count, split);
  built = now;
  const items = [...at("bars").children];
  const hasHost = Boolean(stats.host);
  items[count].hidden = (hasHost || needsNoHost(stats)) && !recent.unanswered && !recent.capped;
  const onlyCapped = Boolean(recent.capped) && !recent.unanswered;
  items[count].querySelector(".number").textContent = onlyCapped ? "capped" : "fallback";
  const columns = count + (items[count].hidden ? 0 : FALLBACK_WIDTH);
  at("side-device").style.width = `calc(${(100 * split) / columns}% - 4px)`;
  at("side-host").style.width = `calc(${(100 * (columns - split)) / columns}% - 4px)`;
  at("side-host").hidden = needsNoHost(stats);
  at("side-host").classList.toggle("absent", !hasHost);
  const down = stats.host_down_s === null ? "" : `host: no answer since ${timeOfDay(stats.host_down_s)}`;
  say("side-host", hasHost ? down || "host" : "no host was named with --host");
  const most = Math.max(...recent.histogram, recent.frames * 0.4, 1);
  recent.histogram.forEach((frames, index) => {
    const share = recent.frames ? frames / recent.frames : 0;
    const [bar, number] = [items[index].querySelector(".bar"), items[index].querySelector(".count")];
    bar.style.height = `${Math.max(frames ? 1.5 : 0, (85 * frames) / most)}%`;
    number.textContent = share >= 0.005 ? Math.round(100 * share) : "";
    const where = index === count ? onlyCapped ? "capped, not sent because of the ceiling" : "fallback, the host did not answer" : `exit ${index + 1}, ${index < split ? "on the device" : "at the host"}`;
    items[index].setAttribute("aria-label", `${where}: ${percent(share)}`);
  });
  say("exits-window", `% of the last ${recent.frames} frames`);
  showMean(recent, count, columns);
}

function showMean(recent, count, columns) {
  const line = at("mean");
  line.hidden = recent.mean_exit === null;
  if (recent.mean_exit === null) return;
  const [mark, text] = line.children;
  const answered = recent.unanswered ? ` (${percent(1 - recent.unanswered / recent.frames)} were answered)` : "";
  text.textContent = `mean exit ${recent.mean_exit.toFixed(1)} of ${count}${answered}`;
  const place = (line.clientWidth * (recent.mean_exit - 0.5)) / columns;
  mark.style.left = `${place}px`;
  const right = place + text.offsetWidth <= line.clientWidth;
  text.style.left = `${right ? place : Math.max(0, place - text.offsetWidth)}px`;
}
