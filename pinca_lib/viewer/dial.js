// The dial of the driving wind: degrees clockwise from north, where it comes from.

// Make the dial. The user drags the wind's origin around it, or types its direction.
function makeDial(parent, turned) {
  const box = make(parent, "div", "pinca-dial");
  make(box, "div", "pinca-heading", "wind from");
  const canvas = make(box, "canvas");
  canvas.width = canvas.height = 192;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "slider");
  canvas.setAttribute("aria-label", "direction that the wind comes from, degrees from north");
  canvas.title = "drag the dot to where the wind comes from; 0° is north, 90° east";
  const line = make(box, "div", "pinca-number");
  const number = make(line, "input");
  number.type = "number";
  number.step = 5;
  number.setAttribute("aria-label", "degrees clockwise from north that the wind comes from");
  make(line, "span", "", "°");
  let degrees = 0, stroke = 0, held = false, turnedAt = 0;
  function show(value) {
    degrees = value;
    canvas.setAttribute("aria-valuenow", Math.round(degrees) % 360);
    if (document.activeElement !== number) number.value = Math.round(10 * degrees) / 10;
    const pen = canvas.getContext("2d"), angle = degrees * Math.PI / 180;
    const dx = 64 * Math.sin(angle), dy = -64 * Math.cos(angle); // towards the origin
    pen.clearRect(0, 0, 192, 192);
    pen.strokeStyle = pen.fillStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(96, 96, 72, 0, 7);
    pen.stroke();
    pen.font = "20px sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (const [text, x, y] of [["N", 96, 11], ["E", 183, 96], ["S", 96, 183], ["W", 11, 96]]) {
      pen.fillText(text, x, y);
    }
    pen.lineWidth = 8;
    pen.beginPath();
    pen.moveTo(96 + dx, 96 + dy);
    pen.lineTo(96 - dx * 0.6, 96 - dy * 0.6);
    pen.stroke();
    pen.beginPath();
    pen.arc(96 + dx, 96 + dy, 11, 0, 7);
    pen.fill();
    pen.beginPath();
    pen.moveTo(96 - dx, 96 - dy);
    for (const side of [-0.3, 0.3]) {
      pen.lineTo(96 - dx * 0.5 - side * dy, 96 - dy * 0.5 + side * dx);
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
    turn(Math.round(Math.atan2(x, y) * 180 / Math.PI));
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
    const change = {ArrowLeft: -5, ArrowUp: 5, ArrowRight: 5, ArrowDown: -5}[event.key];
    if (!change) return;
    event.preventDefault();
    event.stopPropagation();
    stroke++;
    turn(degrees + change);
  });
  number.addEventListener("keydown", event => event.stopPropagation()); // JupyterLab's shortcuts
  number.addEventListener("change", () => {
    const value = parseFloat(number.value);
    stroke++;
    if (Number.isFinite(value)) turn(value);
  });
  // A frame that was sent before the dial was turned must not turn it back.
  return {show: value => held || Date.now() - turnedAt < 700 || show(value)};
}
