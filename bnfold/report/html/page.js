"use strict";
(() => {
  // Tables: a click on a heading sorts by it, a second one the other way round.
  const key = (cell, numeric) => (numeric ? Number(cell.dataset.value) : cell.textContent);
  const compared = (one, other) => (typeof one === "number" ? one - other || 0 : one.localeCompare(other));

  const sort = (heading) => {
    const row = heading.parentElement;
    const body = row.closest("table").tBodies[0];
    const column = [...row.cells].indexOf(heading);
    const numeric = heading.classList.contains("number");
    const falling = heading.getAttribute("aria-sort") === "ascending";
    for (const other of row.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const sign = falling ? -1 : 1;
    const keyed = [...body.rows].map((entry) => [key(entry.cells[column], numeric), entry]);
    const missing = ([value]) => Number(Number.isNaN(value));  // last, either way
    keyed.sort((one, other) => missing(one) - missing(other) || sign * compared(one[0], other[0]));
    body.append(...keyed.map(([, entry]) => entry));
  };

  for (const heading of document.querySelectorAll("thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(heading));
  }

  // Pictures: buttons, keys, Ctrl and the wheel, two fingers; what is enlarged can be dragged.
  const LARGEST = 8;
  const STEP = 1.3;

  const zoomable = (box) => {
    const svg = box.querySelector("svg");
    const scene = svg.querySelector(".scene");
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    let scale = 1;
    let x = 0;
    let y = 0;

    const show = () => {
      x = Math.min(0, Math.max(width * (1 - scale), x));
      y = Math.min(0, Math.max(height * (1 - scale), y));
      scene.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
      box.classList.toggle("zoomed", scale > 1);
    };
    const zoom = (factor, atX = width / 2, atY = height / 2) => {
      const next = Math.min(LARGEST, Math.max(1, scale * factor));
      x = atX - ((atX - x) * next) / scale;
      y = atY - ((atY - y) * next) / scale;
      scale = next;
      show();
    };
    const move = (byX, byY) => {
      x += byX;
      y += byY;
      show();
    };
    const whole = () => zoom(0);
    const unit = () => width / svg.getBoundingClientRect().width;
    const at = (event) => {
      const place = svg.getBoundingClientRect();
      return [(event.clientX - place.left) * unit(), (event.clientY - place.top) * unit()];
    };

    box.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? STEP : 1 / STEP, ...at(event));
    }, { passive: false });

    const keys = {
      "+": () => zoom(STEP), "=": () => zoom(STEP), "-": () => zoom(1 / STEP), "0": whole,
      ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0),
      ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40),
    };
    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      if (event.key.startsWith("Arrow") && scale === 1) return;
      event.preventDefault();
      keys[event.key]();
    });

    const fingers = new Map();
    box.addEventListener("pointerdown", (event) => {
      if (fingers.size === 1 || scale > 1) box.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, at(event));
    });
    box.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const now = at(event);
      if (fingers.size === 2) {
        const [, other] = [...fingers].find(([id]) => id !== event.pointerId);
        const far = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
        if (far(last)) zoom(far(now) / far(last), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else if (scale > 1) {
        move(now[0] - last[0], now[1] - last[1]);
      }
      fingers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      box.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }

    const tools = document.createElement("p");
    tools.className = "tools";
    for (const [sign, label, act] of [["+", "Enlarge", () => zoom(STEP)], ["−", "Reduce", () => zoom(1 / STEP)],
      ["whole", "Show all", whole]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = sign;
      button.setAttribute("aria-label", label);
      button.addEventListener("click", act);
      tools.append(button, " ");
    }
    box.before(tools);
  };
  document.querySelectorAll(".picture").forEach(zoomable);

  // A link to a picture opens it.
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();

  // Light or dark, whatever the system says.
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "theme";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  name();
  document.body.prepend(button);
})();
