// Makes opentelemetry.bundle.js of opentelemetry.js and the packages in package-lock.json, and says in it what it was made of.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { build } from "esbuild";

const sources = ["opentelemetry.js", "package-lock.json"];
const digest = createHash("sha256");
for (const name of sources) digest.update(readFileSync(name));
await build({
  entryPoints: ["opentelemetry.js"],
  outfile: "opentelemetry.bundle.js",
  bundle: true,
  minify: true,
  target: "es2022",
  banner: {
    js:
      `/* made from sha256:${digest.digest("hex")}\n` +
      " * Copyright The OpenTelemetry Authors, SPDX-License-Identifier: Apache-2.0 */",
  },
});
