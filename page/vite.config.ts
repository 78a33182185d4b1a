import { defineConfig } from "vite";

// The output is package data of the gateway, and committed: `make page` builds it, a test builds it again and compares.
export default defineConfig({
  base: "/",
  build: {
    outDir: "../gateway/page",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the Content-Security-Policy of the gateway has no inline scripts or styles
    modulePreload: { polyfill: false },
    target: ["chrome123", "firefox120", "safari17.5"], // light-dark() in CSS
  },
  server: { proxy: { "/api": "http://127.0.0.1:8088", "/metrics": "http://127.0.0.1:8088" } },
});
