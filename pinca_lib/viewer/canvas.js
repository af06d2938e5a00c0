// The viewer's canvas: draws the frames of the kernel, and reports what the user does.
// Text from the kernel is inserted as text, never as HTML.

const GREY_LOW = 150, GREY_HIGH = 70; // grey of the lowest and of the tallest building
const TOOLS = ["inspect", "build", "clear"]; // controls.py has the same list
const BUILDING = 255; // marks buildings in a plane; 0-254 are indices into the colour map

function make(parent, tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

// Paint a plane of bytes with a map of 255 colours, buildings in grey; row 0 is at the bottom.
function paint(canvas, plane, city, colours, [height, width]) {
  const image = new ImageData(width, height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const cell = row * width + column;
      const to = 4 * ((height - 1 - row) * width + column);
      const value = plane[cell];
      if (value === BUILDING) {
        const grey = GREY_LOW + (GREY_HIGH - GREY_LOW) * city[cell] / 255;
        image.data[to] = image.data[to + 1] = image.data[to + 2] = grey;
      } else {
        for (let k = 0; k < 3; k++) image.data[to + k] = colours[3 * value + k];
      }
      image.data[to + 3] = 255;
    }
  }
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Draw arrows of (u, v), one per stride x stride cells, on the canvas on top of the plane.
function drawArrows(canvas, arrows, {across, stride, longest, shape: [height, width]}) {
  const scale = Math.max(1, Math.floor(512 / Math.max(height, width)));
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  if (!arrows.length || !(longest > 0)) return;
  pen.strokeStyle = "white";
  pen.lineWidth = 1.2;
  pen.shadowColor = "black";
  pen.shadowBlur = 2;
  for (let k = 0; k < arrows.length / 2; k++) {
    const u = arrows[2 * k], v = arrows[2 * k + 1];
    if (!Number.isFinite(u)) continue; // a building
    const length = Math.hypot(u, v) / longest;
    if (length < 0.05) continue;
    const x = ((k % across) * stride + stride / 2) * scale;
    const y = (height - Math.floor(k / across) * stride - stride / 2) * scale;
    const dx = u / longest * stride * scale, dy = -v / longest * stride * scale;
    pen.beginPath();
    pen.moveTo(x - dx / 2, y - dy / 2);
    pen.lineTo(x + dx / 2, y + dy / 2);
    for (const side of [-0.4, 0.4]) {
      pen.moveTo(x + dx / 2, y + dy / 2);
      pen.lineTo(x + dx * 0.15 - side * dy, y + dy * 0.15 + side * dx);
    }
    pen.stroke();
  }
}

function shortNumber(value) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  return size < 0.001 || size >= 10000 ? value.toExponential(1) : String(+value.toPrecision(3));
}

// Draw curves over steps. A logarithmic chart leaves out values that are not positive.
function drawCurves(canvas, steps, curves, logarithmic) {
  const width = canvas.clientWidth || 300, height = canvas.clientHeight || 120;
  const sharp = window.devicePixelRatio || 1;
  canvas.width = width * sharp;
  canvas.height = height * sharp;
  const pen = canvas.getContext("2d");
  pen.scale(sharp, sharp);
  const style = getComputedStyle(canvas);
  pen.font = "11px " + style.fontFamily;
  pen.fillStyle = pen.strokeStyle = style.color;
  const usable = value => Number.isFinite(value) && (!logarithmic || value > 0);
  const all = curves.flatMap(curve => [...curve.values].filter(usable));
  if (!all.length) {
    pen.fillText(logarithmic ? "no violations" : "nothing to compare with", 50, height / 2);
    return;
  }
  const scaled = value => logarithmic ? Math.log10(value) : value;
  let low = logarithmic ? scaled(Math.min(...all)) : 0, high = scaled(Math.max(...all));
  if (high - low < 1e-9) { high += 0.5; low -= logarithmic ? 0.5 : 0; }
  const left = 46, right = width - 6, top = 8, bottom = height - 18;
  const first = steps[0], last = Math.max(steps[steps.length - 1], first + 1);
  const x = step => left + (right - left) * (step - first) / (last - first);
  const y = value => bottom - (bottom - top) * (scaled(value) - low) / (high - low);
  pen.globalAlpha = 0.4;
  pen.strokeRect(left, top, right - left, bottom - top);
  pen.globalAlpha = 1;
  const label = place => shortNumber(logarithmic ? 10 ** place : place);
  pen.textAlign = "right";
  pen.fillText(label(high), left - 4, top + 8);
  pen.fillText(label(low), left - 4, bottom);
  pen.fillText(`step ${last}`, right, height - 4);
  pen.textAlign = "left";
  pen.fillText(String(first), left, height - 4);
  for (const curve of curves) {
    pen.strokeStyle = curve.colour;
    pen.lineWidth = 1.5;
    pen.beginPath();
    let drawing = false;
    curve.values.forEach((value, k) => {
      if (!usable(value)) { drawing = false; return; }
      drawing ? pen.lineTo(x(steps[k]), y(value)) : pen.moveTo(x(steps[k]), y(value));
      drawing = true;
    });
    pen.stroke();
  }
}

// Make one map: title, plane with arrows and brush cursor on top, and colour bar.
function makePanel(parent) {
  const box = make(parent, "figure", "pinca-panel");
  const title = make(box, "figcaption", "pinca-title");
  const frame = make(box, "div", "pinca-frame");
  const plane = make(frame, "canvas", "pinca-plane");
  const arrows = make(frame, "canvas", "pinca-arrows");
  const cursor = make(frame, "div", "pinca-cursor");
  const bar = make(box, "div", "pinca-bar");
  const ticks = make(box, "div", "pinca-ticks");
  const [low, middle, high] = ["", "", ""].map(() => make(ticks, "span"));
  return {box, title, frame, plane, arrows, cursor, bar, low, middle, high};
}

function fillBar(panel, colours, about) {
  const stops = Array.from({length: 17}, (_, k) => {
    const at = 3 * Math.round(k * 254 / 16);
    return `rgb(${colours[at]},${colours[at + 1]},${colours[at + 2]})`;
  });
  panel.bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
  panel.low.textContent = shortNumber(about.low);
  panel.middle.textContent = about.unit;
  panel.high.textContent = shortNumber(about.high);
}

// Make the dial of the driving wind. The user drags its arrow to where the wind blows to.
function makeDial(parent, turned) {
  const box = make(parent, "div", "pinca-dial");
  make(box, "div", "pinca-heading", "driving wind");
  const canvas = make(box, "canvas");
  canvas.width = canvas.height = 192;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "slider");
  canvas.setAttribute("aria-label", "direction that the driving wind blows to, degrees");
  canvas.title = "drag to turn the driving wind; 0° blows to the east, 90° to the north";
  const text = make(box, "div", "pinca-number");
  let degrees = 0, stroke = 0, held = false, turnedAt = 0;
  function show(value) {
    degrees = value;
    canvas.setAttribute("aria-valuenow", Math.round(degrees));
    text.textContent = `towards ${Math.round(degrees) % 360}°`;
    const pen = canvas.getContext("2d"), angle = degrees * Math.PI / 180;
    const dx = 78 * Math.cos(angle), dy = -78 * Math.sin(angle);
    pen.clearRect(0, 0, 192, 192);
    pen.strokeStyle = pen.fillStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(96, 96, 90, 0, 7);
    pen.stroke();
    pen.lineWidth = 8;
    pen.beginPath();
    pen.moveTo(96 - dx, 96 - dy);
    pen.lineTo(96 + dx * 0.7, 96 + dy * 0.7);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(96 + dx, 96 + dy);
    for (const side of [-0.25, 0.25]) {
      pen.lineTo(96 + dx * 0.6 - side * dy, 96 + dy * 0.6 + side * dx);
    }
    pen.fill();
  }
  function turn(value) {
    show((value % 360 + 360) % 360);
    turnedAt = Date.now();
    turned(degrees, stroke);
  }
  function follow(event) {
    const area = canvas.getBoundingClientRect();
    const x = event.clientX - area.left - area.width / 2;
    const y = area.top + area.height / 2 - event.clientY;
    turn(Math.round(Math.atan2(y, x) * 180 / Math.PI));
  }
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    held = true;
    stroke++;
    follow(event);
  });
  canvas.addEventListener("pointermove", event => held && follow(event));
  canvas.addEventListener("pointerup", () => { held = false; });
  canvas.addEventListener("pointercancel", () => { held = false; });
  canvas.addEventListener("keydown", event => {
    const change = {ArrowLeft: 5, ArrowUp: 5, ArrowRight: -5, ArrowDown: -5}[event.key];
    if (!change) return;
    event.preventDefault();
    event.stopPropagation();
    stroke++;
    turn(degrees + change);
  });
  // A frame that was sent before the dial was turned must not turn it back.
  return {show: value => held || Date.now() - turnedAt < 700 || show(value)};
}

function makeChart(parent, heading) {
  const box = make(parent, "div", "pinca-chart");
  make(box, "div", "pinca-heading", heading);
  return {canvas: make(box, "canvas"), legend: make(box, "div", "pinca-legend")};
}

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

function fillChart(chart, steps, curves, logarithmic) {
  curves.forEach((curve, k) => { curve.colour = COLOURS[k % COLOURS.length]; });
  drawCurves(chart.canvas, steps, curves, logarithmic);
  chart.legend.replaceChildren();
  for (const curve of curves) {
    const now = curve.values[curve.values.length - 1];
    const entry = make(chart.legend, "span", "", `${curve.name} ${shortNumber(now)}`);
    entry.style.borderColor = curve.colour;
  }
}

function render({model, el}) {
  const id = crypto.randomUUID?.() ?? String(Math.random());
  el.classList.add("pinca-viewer");
  const message = make(el, "div", "pinca-message");
  message.setAttribute("role", "status");
  const counters = make(el, "div", "pinca-counters");
  const panels = make(el, "div", "pinca-panels");
  const below = make(el, "div", "pinca-below");
  const table = make(make(below, "div", "pinca-readout"), "table");
  const dial = makeDial(below, (degrees, stroke) => tell({kind: "wind", degrees, stroke: id + "w" + stroke}));
  const errors = makeChart(below, "relative L2 error");
  const laws = makeChart(below, "mean violation of physical laws (SI units)");
  const shown = [];
  let shape = [1, 1], city = new Uint8Array(1), stroke = 0;
  let points = [], hover = null, waiting = false, last = null, drawn = null;

  function tell(content) { model.send(content); }

  // Report brush and pointer at most once per animation frame.
  function tellSoon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const tool = TOOLS[model.get("tool")];
      if (points.length) tell({kind: "brush", tool, points, stroke: id + stroke});
      points = [];
      tell({kind: "hover", cell: hover});
    });
  }

  function cellAt(event, canvas) {
    const area = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - area.left) / area.width * shape[1]);
    const row = shape[0] - 1 - Math.floor((event.clientY - area.top) / area.height * shape[0]);
    const inside = row >= 0 && row < shape[0] && column >= 0 && column < shape[1];
    return inside ? [row, column] : null;
  }

  // Return the cells on the line between two cells, so that a fast stroke has no gaps.
  function between(from, to) {
    const count = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
    return Array.from({length: count}, (_, k) => {
      const part = (k + 1) / count;
      return [0, 1].map(axis => Math.round(from[axis] + (to[axis] - from[axis]) * part));
    });
  }

  function watch(panel) {
    const canvas = panel.frame;
    canvas.addEventListener("pointerdown", event => {
      const cell = cellAt(event, canvas);
      if (model.get("tool") === 0 || !cell || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      stroke++;
      last = cell;
      points.push(cell);
      tellSoon();
    });
    canvas.addEventListener("pointermove", event => {
      const cell = cellAt(event, canvas);
      hover = cell;
      moveCursor(panel, cell);
      if (last && cell && event.buttons & 1) {
        points.push(...between(last, cell));
        last = cell;
      } else if (last) {
        last = cell && event.buttons & 1 ? cell : null; // left the map, or released outside it
      }
      tellSoon();
    });
    canvas.addEventListener("pointerleave", () => {
      hover = null;
      moveCursor(panel, null);
      tellSoon();
    });
  }

  function endStroke() { last = null; }

  function moveCursor(panel, cell) {
    const radius = model.get("tool") === 0 ? 0.5 : model.get("radius") + 0.5;
    for (const {cursor} of shown) {
      cursor.style.display = cell ? "block" : "none";
      if (!cell) continue;
      cursor.style.left = `${(cell[1] + 0.5 - radius) / shape[1] * 100}%`;
      cursor.style.top = `${(shape[0] - cell[0] - 0.5 - radius) / shape[0] * 100}%`;
      cursor.style.width = `${2 * radius / shape[1] * 100}%`;
      cursor.style.height = `${2 * radius / shape[0] * 100}%`;
    }
  }

  function readOut(rows) {
    table.replaceChildren();
    for (const row of rows) {
      const line = make(table, "tr");
      for (const text of row) make(line, "td", "", text);
    }
  }

  function draw(frame, buffers) {
    shape = frame.shape;
    const bytes = buffer => new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    const floats = buffer => new Float32Array(bytes(buffer).slice().buffer);
    const [cityBuffer, arrows, curves, ...rest] = buffers;
    city = bytes(cityBuffer);
    while (shown.length < frame.panels.length) {
      shown.push(makePanel(panels));
      watch(shown[shown.length - 1]);
    }
    while (shown.length > frame.panels.length) shown.pop().box.remove();
    frame.panels.forEach((about, k) => {
      const panel = shown[k], colours = bytes(rest[2 * k + 1]);
      panel.title.textContent = about.title;
      panel.frame.style.aspectRatio = String(frame.extent[1] / frame.extent[0]);
      panel.frame.style.cursor = model.get("tool") === 0 ? "default" : "crosshair";
      paint(panel.plane, bytes(rest[2 * k]), city, colours, shape);
      fillBar(panel, colours, about);
    });
    drawArrows(shown[0].arrows, floats(arrows), frame);
    dial.show(frame.degrees);
    readOut(frame.readout);
    counters.textContent = frame.counters;
    message.textContent = frame.message;
    const values = floats(curves), count = frame.count;
    const curve = k => values.subarray(k * count, (k + 1) * count);
    const curved = frame.curves.map((about, k) => ({...about, values: curve(k + 1)}));
    fillChart(errors, curve(0), curved.filter(item => !item.law), false);
    fillChart(laws, curve(0), curved.filter(item => item.law), true);
    el.dataset.frame = frame.id;
  }

  function receive(content, buffers) {
    if (content.kind !== "frame") return;
    try {
      draw(content, buffers);
      hideStill();
    } finally {
      drawn = content.id;
      if (!document.hidden && el.offsetWidth) {
        tell({kind: "drawn", id: drawn}); // the kernel waits for this before the next frame
        drawn = null;
      }
    }
  }

  function hideStill() { // the static page for notebooks without a kernel
    for (const still of document.querySelectorAll(`[data-pinca="${model.get("still")}"]`)) {
      still.style.display = "none";
    }
  }

  model.on("msg:custom", receive);
  // While the page is hidden, frames are not confirmed, so the kernel sends no more of them.
  const timer = setInterval(() => {
    if (drawn === null || document.hidden || !el.offsetWidth) return;
    tell({kind: "drawn", id: drawn});
    drawn = null;
  }, 200);
  window.addEventListener("pointerup", endStroke);
  window.addEventListener("pointercancel", endStroke);
  tell({kind: "ready"});
  return () => {
    clearInterval(timer);
    window.removeEventListener("pointerup", endStroke);
    window.removeEventListener("pointercancel", endStroke);
    model.off("msg:custom", receive);
  };
}

export default {render};
