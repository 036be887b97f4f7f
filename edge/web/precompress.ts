import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { constants, gzip } from "node:zlib";
import type { Plugin } from "vite";

const compress = promisify(gzip);

// Below this a gzip header and the extra file cost more than they save.
const worthwhileBytes = 1024;

/** Writes `name.gz` beside every text asset, so that the server never compresses one. */
export function precompress(): Plugin {
  let outDir = "dist";
  return {
    name: "banyan-precompress",
    apply: "build",
    configResolved(config) {
      outDir = config.build.outDir;
    },
    async closeBundle() {
      const entries = await readdir(outDir, { recursive: true, withFileTypes: true });
      for (const entry of entries) {
        if (!entry.isFile() || !/\.(js|css|html|svg|json)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const plain = await readFile(path);
        if (plain.length < worthwhileBytes) continue;
        await writeFile(`${path}.gz`, await compress(plain, { level: constants.Z_BEST_COMPRESSION }));
      }
    },
  };
}
