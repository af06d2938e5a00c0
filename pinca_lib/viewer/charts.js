// The charts of scores over steps.

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

function makeChart(parent, heading) {
  const box = make(parent, "div", "pinca-chart");
  make(box, "div", "pinca-heading", heading);
  return {box, canvas: make(box, "canvas"), legend: make(box, "div", "pinca-legend")};
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
