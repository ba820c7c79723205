import { defineConfig } from 'vitest/config';

// Where `npm run dev` finds the services: `labctl dev` or a lab's ingress.
const backend = process.env.LAB_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  esbuild: { jsx: 'automatic' },
  server: {
    proxy: {
      '/api': backend,
      '/ws': { target: backend, ws: true },
    },
  },
  build: {
    target: 'es2022',
    // The Content-Security-Policy allows neither data: scripts nor inline styles, so nothing may be inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: false,
  },
  test: {
    environment: 'jsdom',
    testTimeout: 60_000, // it says when to give up, not how fast the machine has to be
    include: ['src/**/*.test.{ts,tsx}'],
  },
});
