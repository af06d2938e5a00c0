// The maps: planes of colours with buildings, arrows, brush cursor, and what a map needs to be read.

const GREY_LOW = 150, GREY_HIGH = 70; // grey of the lowest and of the tallest building
const BUILDING = 255; // marks buildings in a plane; 0-254 are indices into the colour map
const UNLIKE = 1, ASSUMED = 255; // marks in the city, in air and in buildings; as in panels.py
const ASSUMED_COLOUR = [201, 162, 122];

function make(parent, tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

// Paint a plane of bytes with a map of 255 colours, buildings in grey; row 0 is at the bottom.
// Buildings of assumed height are brown, and air that is unlike the training data is hatched.
function paint(canvas, plane, city, colours, [height, width]) {
  const image = new ImageData(width, height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const cell = row * width + column;
      const to = 4 * ((height - 1 - row) * width + column);
      const value = plane[cell];
      if (value === BUILDING && city[cell] === ASSUMED) {
        for (let k = 0; k < 3; k++) image.data[to + k] = ASSUMED_COLOUR[k];
      } else if (value === BUILDING) {
        const grey = GREY_LOW + (GREY_HIGH - GREY_LOW) * city[cell] / 255;
        image.data[to] = image.data[to + 1] = image.data[to + 2] = grey;
      } else {
        const pale = city[cell] === UNLIKE && (row - column) % 5 === 0 ? 0.7 : 0;
        for (let k = 0; k < 3; k++) {
          image.data[to + k] = colours[3 * value + k] * (1 - pale) + 255 * pale;
        }
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

// Return the largest of 1, 2, 5, 10, 20, ... that is not above a value.
function roundLength(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [5, 2, 1].find(step => step * power <= value);
}

// Draw a scale bar; for a place also north, and coordinates along the left and the lower edge.
function drawMarks(canvas, extent, corner) {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const [north, east] = extent, sharp = window.devicePixelRatio || 1;
  const drawn = [width, height, north, east, corner, sharp].join();
  if (!width || canvas.dataset.drawn === drawn) return;
  canvas.dataset.drawn = drawn;
  canvas.width = width * sharp;
  canvas.height = height * sharp;
  const pen = canvas.getContext("2d"), metre = width / east;
  pen.scale(sharp, sharp);
  pen.font = "11px sans-serif";
  pen.lineJoin = "round";
  const write = (text, x, y, align) => {
    pen.textAlign = align;
    pen.strokeStyle = "rgba(255,255,255,0.85)";
    pen.lineWidth = 3;
    pen.strokeText(text, x, y);
    pen.fillStyle = "black";
    pen.fillText(text, x, y);
  };
  const lines = points => {
    for (const [colour, thick] of [["rgba(255,255,255,0.85)", 5], ["black", 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.beginPath();
      for (const [x, y, start] of points) start ? pen.moveTo(x, y) : pen.lineTo(x, y);
      pen.stroke();
    }
  };
  const bar = roundLength(east / 4), right = width - 12, base = height - (corner ? 34 : 12);
  lines([[right - bar * metre, base, true], [right, base]]);
  write(`${bar} m`, right - bar * metre / 2, base - 6, "center");
  if (!corner) return;
  lines([[width - 16, 38, true], [width - 16, 18], [width - 20, 25, true], [width - 16, 18],
         [width - 12, 25]]);
  write("N", width - 16, 14, "center");
  const step = roundLength(Math.max(north, east) / 3);
  for (let at = Math.ceil(corner[0] / step) * step; at < corner[0] + east; at += step) {
    const x = (at - corner[0]) * metre;
    if (x < 80 || x > width - 30) continue;
    lines([[x, height, true], [x, height - 5]]);
    write(at.toLocaleString("en"), x, height - 8, "center");
  }
  for (let at = Math.ceil(corner[1] / step) * step; at < corner[1] + north; at += step) {
    const y = height - (at - corner[1]) * metre;
    if (y < 12 || y > height - 26) continue;
    lines([[0, y, true], [5, y]]);
    write(at.toLocaleString("en"), 8, y + 4, "left");
  }
}

// Make one map: title, plane with arrows, marks and brush cursor on top, and colour bar.
function makePanel(parent) {
  const box = make(parent, "figure", "pinca-panel");
  const title = make(box, "figcaption", "pinca-title");
  const frame = make(box, "div", "pinca-frame");
  const plane = make(frame, "canvas", "pinca-plane");
  const arrows = make(frame, "canvas", "pinca-arrows");
  const marks = make(frame, "canvas", "pinca-marks");
  const cursor = make(frame, "div", "pinca-cursor");
  const bar = make(box, "div", "pinca-bar");
  const ticks = make(box, "div", "pinca-ticks");
  const [low, middle, high] = ["", "", ""].map(() => make(ticks, "span"));
  return {box, title, frame, plane, arrows, marks, cursor, bar, low, middle, high};
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
