// Joins and shrinks what is in assets/, without any package: `npm run build`.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const BUNDLES = {
  "chat.js": ["connection.js", "room.js"],
  "chat.css": ["chat.css"],
};

const OUTPUT = path.join(__dirname, "public", "assets");

// Only what is safe without a parser: whole-line comments, indentation, empty lines.
function shrink(text) {
  return text
    .replace(/^\/\*.*?\*\/$/gms, "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith("//"))
    .join("\n");
}

function bundle(files) {
  return files.map((file) => shrink(fs.readFileSync(path.join(__dirname, "assets", file), "utf8"))).join("\n") + "\n";
}

fs.mkdirSync(OUTPUT, { recursive: true });
const digests = {};
for (const [name, files] of Object.entries(BUNDLES)) {
  const text = name.endsWith(".js") ? `(() => {\n"use strict";\n${bundle(files)}})();\n` : bundle(files);
  fs.writeFileSync(path.join(OUTPUT, name), text);
  digests[name] = crypto.createHash("sha256").update(text).digest("hex").slice(0, 12);
}
fs.writeFileSync(path.join(OUTPUT, "manifest.json"), JSON.stringify(digests) + "\n");
