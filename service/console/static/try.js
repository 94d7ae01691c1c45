// The page Try: drop, paste, choose or photograph an image, and post it at once.
"use strict";

(() => {
  const form = document.getElementById("trial");
  if (!form) return;
  const file = document.getElementById("file");
  const drop = document.getElementById("drop");
  const category = document.getElementById("category");

  function post(image) {
    const files = new DataTransfer();
    files.items.add(image);
    file.files = files.files;
    form.requestSubmit();
  }

  file.addEventListener("change", () => file.files.length && form.requestSubmit());
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const [image] = event.dataTransfer.files;
    if (image) post(image);
  });
  document.addEventListener("paste", (event) => {
    const [image] = event.clipboardData.files;
    if (image) post(image);
  });
  category.addEventListener("change", () => {
    for (const samples of document.querySelectorAll("[data-samples]")) {
      samples.hidden = samples.dataset.samples !== category.value;
    }
  });
  // The next choice of the same file must be a change, too.
  form.addEventListener("htmx:afterRequest", () => { file.value = ""; });
  form.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt === form && !file.files.length) event.preventDefault();
  });

  const show = (id, visible) => { document.getElementById(id).hidden = !visible; };
  const video = document.getElementById("camera");
  let stream = null;

  function stop() {
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
    show("camera-live", false);
    show("camera-on", true);
  }

  if (!window.isSecureContext || !navigator.mediaDevices) {
    show("camera-on", false);
    show("camera-needs", true);
  }
  document.getElementById("camera-on").addEventListener("click", async () => {
    show("camera-refused", false);
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
    } catch {
      show("camera-refused", true);
      return;
    }
    video.srcObject = stream;
    show("camera-on", false);
    show("camera-live", true);
  });
  document.getElementById("camera-off").addEventListener("click", stop);
  document.getElementById("camera-shoot").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => post(new File([blob], "camera.png", { type: "image/png" })), "image/png");
  });
  window.addEventListener("pagehide", stop);
})();
