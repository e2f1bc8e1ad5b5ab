import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = new URL("../../", import.meta.url).pathname;
const MAX_LINES = 300;
const MAX_BYTES = 4096;

test("parser, pacer and stream are at most 4 KiB, minified and gzipped", async () => {
  const contents = ["sse", "pacer", "stream"].map((name) => `export * from "./src/${name}.ts";`).join("\n");
  const built = await build({
    stdin: { contents, resolveDir: root },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
  });
  const size = gzipSync(built.outputFiles[0]?.contents ?? "", { level: 9 }).length;
  assert.ok(size > 1000 && size <= MAX_BYTES, `${size} bytes`);
});

test("every entry is there with its types, and needs nothing that must be installed", async () => {
  const { exports, dependencies } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
  assert.equal(dependencies, undefined);
  for (const path of Object.values(exports) as string[]) {
    assert.ok(existsSync(root + path), path);
    assert.ok(existsSync(root + path.replace(".js", ".d.ts")), path);
    await import(root + path);
  }
  for (const file of readdirSync(`${root}dist`).filter((name) => name.endsWith(".js"))) {
    const imports = [...readFileSync(`${root}dist/${file}`, "utf8").matchAll(/from "([^"]+)"/g)].map(
      ([, name]) => name,
    );
    assert.ok(
      imports.every((name) => name?.startsWith("./") && name.endsWith(".js")),
      `${file}: ${imports}`,
    );
  }
});

test("files are small", () => {
  for (const folder of ["src", "test", "chat", "compare"].filter((name) => existsSync(root + name))) {
    for (const file of readdirSync(root + folder)) {
      const lines = readFileSync(`${root}${folder}/${file}`, "utf8").split("\n").length - 1;
      assert.ok(lines <= MAX_LINES, `${folder}/${file} has ${lines} lines`);
    }
  }
});
