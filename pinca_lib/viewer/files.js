// Files of buildings: dropped on the viewer or chosen, and sent to the kernel in parts.

const PART = 2 ** 21; // bytes of a message; a server ends the connection at longer ones

// Make the button and the place to drop on; tell(content, buffers) sends a message.
function makeFiles(parent, tell) {
  const row = make(parent, "div", "pinca-files");
  const label = make(row, "label", "", "open buildings …");
  const input = make(label, "input");
  input.type = "file";
  input.multiple = true;
  input.setAttribute("aria-label", "open a file of buildings");
  make(row, "span", "", "or drop a file here (GeoJSON, GeoPackage, zipped Shapefile, CityJSON, "
    + "OBJ, STL, PLY, glTF, GeoTIFF, …)");
  let answer = null;

  async function sendAll(files) {
    const upload = crypto.randomUUID?.() ?? String(Math.random());
    for (const [number, file] of files.entries()) {
      const last = number === files.length - 1;
      let start = 0;
      do {
        let part;
        try {
          part = await file.slice(start, start + PART).arrayBuffer();
        } catch {
          return tell({kind: "unreadable", name: file.name}); // a folder, or gone meanwhile
        }
        const taken = new Promise(resolve => { answer = resolve; });
        const {name, size} = file;
        tell({kind: "file", upload, name, size, start, last}, [new Uint8Array(part)]);
        if (await taken) return; // refused
        start += PART;
      } while (start < file.size);
    }
  }

  input.addEventListener("change", () => {
    sendAll([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
  parent.addEventListener("dragover", event => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would take the file itself
    parent.classList.add("pinca-drop");
  });
  parent.addEventListener("dragleave", event => {
    if (!parent.contains(event.relatedTarget)) parent.classList.remove("pinca-drop");
  });
  parent.addEventListener("drop", event => {
    parent.classList.remove("pinca-drop");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    sendAll([...event.dataTransfer.files]);
  });
  return {taken: refused => answer?.(refused)};
}
