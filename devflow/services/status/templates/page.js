"use strict";
// Asks for the page every few seconds and puts its new middle in place, unless nobody looks.
const EVERY_MS = 5000;
async function renew() {
  const told = document.getElementById("told");
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = document.querySelector("main");
      const focused = main.contains(document.activeElement) ? document.activeElement.id : "";
      main.replaceWith(page.querySelector("main"));
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
      document.title = page.title;
      told.textContent = "";
    } catch (error) {
      told.textContent = `The status service gave no answer (${error.message}); what is shown is no longer certain.`;
    }
  }
  setTimeout(renew, EVERY_MS);
}
setTimeout(renew, EVERY_MS);
