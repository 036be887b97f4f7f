/// <reference types="vitest/config" />
import preact from "@preact/preset-vite";
import { defineConfig } from "vite";
import { precompress } from "./precompress.ts";

// One HTML file per page; the Go handler maps addresses onto them (web.go).
const pages = ["index", "watch", "publish", "ops", "404"];

export default defineConfig({
  plugins: [preact({ prefreshEnabled: true, devToolsEnabled: false }), precompress()],
  build: {
    outDir: "dist",
    target: "es2022",
    // Pictures stay files of their own, so that the content security policy
    // needs no data: beyond images, and unchanged ones stay cached.
    assetsInlineLimit: 0,
    // Every browser that has WebRTC preloads modules by itself.
    modulePreload: { polyfill: false },
    // hls.js is 600 kB and loaded only when WebRTC cannot play.
    chunkSizeWarningLimit: 700,
    rollupOptions: { input: pages.map((page) => `${page}.html`) },
  },
  server: {
    // `npm run dev` in front of a running server; BANYAN_ORIGIN names it.
    proxy: Object.fromEntries(
      ["/api", "/whep", "/whip", "/hls", "/thumbnails", "/sessions"].map((path) => [
        path,
        process.env["BANYAN_ORIGIN"] ?? "http://127.0.0.1:8080",
      ]),
    ),
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
