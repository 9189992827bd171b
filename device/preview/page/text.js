// Numbers and sentences as the page writes them.

export const at = (id) => document.getElementById(id);
export const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)}\u202f%`);

export function bytes(count) {
  if (count === null) return "–";
  if (count < 1000) return `${Math.round(count)} B`;
  if (count < 1e6) return `${(count / 1000).toFixed(count < 1e4 ? 1 : 0)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

export function milliseconds(value) {
  if (value === null) return "–";
  return value < 1 ? `${value.toFixed(2)} ms` : value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

export function energy(millijoules) {
  if (millijoules === null) return "–";
  return millijoules < 1000 ? `${millijoules.toPrecision(2)} mJ` : `${(millijoules / 1000).toPrecision(2)} J`;
}

// The time of day so many seconds ago, by this browser's clock: a board without a network may not know the time.
export function timeOfDay(secondsAgo) {
  return new Date(Date.now() - 1000 * secondsAgo).toLocaleTimeString("en-GB");
}

export function duration(seconds) {
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  return whole < 3600 ? `${Math.floor(whole / 60)} min` : `${Math.floor(whole / 3600)} h`;
}

export function say(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

export function sayWithUnit(id, value, unit) {
  say(id, value);
  if (unit) {
    const small = document.createElement("small");
    small.textContent = ` ${unit}`;
    at(id).append(small);
  }
}

// Whether all exits are on the device. Every frame leaves there then; those that leave before the last exit leave early.
export const needsNoHost = ({ split, exits }) => split === exits;
export const whereEarly = (stats) => (needsNoHost(stats) ? "before the last exit" : "on the device");
