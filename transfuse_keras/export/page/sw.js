// Keeps all files of the page, so that it opens without a network. The network comes first: what
// is kept is never shown where the new can be had.

const FILES = ["./", "app.js", "dicom.js", "model.js", "picture.js", "pixels.js", "png.js", "style.css", "icon.svg", "model.tflite",
  "runtime/dicom-parser.js", "runtime/index.js", "runtime/wasm-utils.js", "runtime/litert_wasm_compat_internal.js", "runtime/litert_wasm_compat_internal.wasm"];

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(self.registration.scope).then((cache) => cache.addAll(FILES)));
});

self.addEventListener("fetch", (event) => {
  const found = async () => {
    try {
      return await fetch(event.request);
    } catch (error) {
      const cache = await caches.open(self.registration.scope);
      return (await cache.match(event.request, {ignoreSearch: true})) ?? Promise.reject(error);
    }
  };
  event.respondWith(found());
});
