// Makes the bundles of the pages and of the packages in package-lock.json, and says in each what it was made of.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { build } from "esbuild";

const pages = {
  opentelemetry: "Copyright The OpenTelemetry Authors, SPDX-License-Identifier: Apache-2.0",
  faro:
    "Copyright Grafana Labs, and The OpenTelemetry Authors, SPDX-License-Identifier: Apache-2.0; " +
    "with ua-parser-js (MIT) and web-vitals (Apache-2.0), see README.md",
  sentry: "Copyright Functional Software, Inc. dba Sentry, SPDX-License-Identifier: MIT, see README.md",
};
for (const [name, licence] of Object.entries(pages)) {
  const digest = createHash("sha256");
  for (const source of [`${name}.js`, "package-lock.json"]) digest.update(readFileSync(source));
  await build({
    entryPoints: [`${name}.js`],
    outfile: `${name}.bundle.js`,
    bundle: true,
    minify: true,
    target: "es2022",
    legalComments: "none",
    banner: { js: `/* made from sha256:${digest.digest("hex")}\n * ${licence} */` },
  });
}
