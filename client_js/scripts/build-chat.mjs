// Bundles each page (its sources, the library, and for the chat marked, DOMPurify, highlight.js) into one file, so that it
// needs no CDN.
// usage: node scripts/build-chat.mjs [FOLDER]        default: ../gateway/web, where the result is committed
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const root = new URL("..", import.meta.url).pathname;
const folder = process.argv[2] ?? `${root}../gateway/web`;

await build({
  entryPoints: { chat: `${root}chat/main.ts`, compare: `${root}compare/main.ts` },
  outdir: folder,
  absWorkingDir: root,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none", // all of them are in licenses.txt
  logLevel: "warning",
});

const bundled = { marked: "LICENSE", dompurify: "LICENSE", "highlight.js": "LICENSE" };
const texts = Object.entries(bundled).map(([name, file]) => {
  const { version, license } = JSON.parse(readFileSync(`${root}node_modules/${name}/package.json`, "utf8"));
  const text = readFileSync(`${root}node_modules/${name}/${file}`, "utf8").replaceAll("\r\n", "\n").trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync(
  `${folder}/licenses.txt`,
  `What chat.js contains besides Andante.\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`,
);
