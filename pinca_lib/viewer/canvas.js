// The viewer's canvas: draws the frames of the kernel, and reports what the user does.
// Text from the kernel is inserted as text, never as HTML. The other scripts of this folder stand
// before this one in one module.

const TOOLS = ["inspect", "build", "clear"]; // controls.py has the same list

function render({model, el}) {
  const id = crypto.randomUUID?.() ?? String(Math.random());
  el.classList.add("pinca-viewer");
  const message = make(el, "div", "pinca-message");
  message.setAttribute("role", "status");
  const files = makeFiles(el, tell);
  const counters = make(el, "div", "pinca-counters");
  const body = make(el, "div", "pinca-body");
  const panels = make(body, "div", "pinca-panels");
  const below = make(body, "div", "pinca-below");
  const table = make(make(below, "div", "pinca-readout"), "table");
  const dial = makeDial(below, (degrees, stroke) => tell({kind: "wind", degrees, stroke: id + "w" + stroke}));
  const errors = makeChart(below, "relative L2 difference");
  const laws = makeChart(below, "mean violation of physical laws (SI units)");
  const remarks = make(el, "ul", "pinca-remarks");
  const shown = [];
  let shape = [1, 1], city = new Uint8Array(1), stroke = 0;
  let points = [], hover = null, waiting = false, last = null, drawn = null;

  function tell(content, buffers) { model.send(content, undefined, buffers); }

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

  function list(lines) {
    if (remarks.dataset.lines === lines.join("\n")) return;
    remarks.dataset.lines = lines.join("\n");
    remarks.replaceChildren();
    for (const line of lines) make(remarks, "li", "", line);
  }

  function draw(frame, buffers) {
    shape = frame.shape;
    body.style.setProperty("--aspect", frame.extent[1] / frame.extent[0]);
    body.classList.toggle("pinca-alone", frame.panels.length === 1);
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
      drawMarks(panel.marks, frame.extent, frame.corner);
    });
    drawArrows(shown[0].arrows, floats(arrows), frame);
    dial.show(frame.degrees);
    readOut(frame.readout);
    list(frame.remarks);
    counters.textContent = frame.counters;
    message.textContent = frame.message;
    const values = floats(curves), count = frame.count;
    const curve = k => values.subarray(k * count, (k + 1) * count);
    const curved = frame.curves.map((about, k) => ({...about, values: curve(k + 1)}));
    for (const [chart, ofLaws] of [[errors, false], [laws, true]]) {
      const wanted = curved.filter(item => item.law === ofLaws);
      chart.box.style.display = wanted.length || !frame.corner ? "" : "none";
      if (chart.box.offsetWidth) fillChart(chart, curve(0), wanted, ofLaws);
    }
    el.dataset.frame = frame.id;
  }

  function receive(content, buffers) {
    if (content.kind === "taken") files.taken(content.refused);
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

  // The static page for notebooks without a kernel. It may come into the page after this widget, so
  // a style hides it, whenever it comes; the style goes with the widget.
  const style = document.createElement("style");
  function hideStill() {
    style.textContent = `[data-pinca="${model.get("still")}"] { display: none; }`;
    el.append(style);
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
