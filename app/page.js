// Joins a result's button, sound and line. Results come and go, so one set of listeners on the document serves all.
(() => {
  const part = (inside, name) => inside.closest(".hit")?.querySelector(name);

  function show(audio) {
    const hit = audio.closest(".hit");
    if (!hit) return;
    hit.classList.toggle("playing", !audio.paused);
    const line = part(audio, ".line");
    if (audio.currentTime > 0 && !line.matches(":active")) {
      line.value = audio.currentTime;
      line.style.setProperty("--at", `${(100 * audio.currentTime) / line.max}%`);
    }
  }

  async function explain(audio) {
    const where = part(audio, ".where");
    if (!where || !audio.error) return;
    const answer = await fetch(audio.src, { headers: { Range: "bytes=0-0" } }).catch(() => null);
    where.textContent = !answer ? "the server does not answer"
      : answer.ok ? "this browser cannot play this file" : await answer.text();
    where.classList.add("gone");
    part(audio, ".play")?.remove();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".play");
    if (!button) return;
    const audio = part(button, "audio");
    if (audio.paused) audio.play().catch(() => explain(audio));
    else audio.pause();
  });

  document.addEventListener("input", (event) => {
    if (!event.target.matches(".line")) return;
    const line = event.target;
    const audio = part(line, "audio");
    line.style.setProperty("--at", `${(100 * line.value) / line.max}%`);
    audio.currentTime = Number(line.value);
    if (audio.paused) audio.play().catch(() => explain(audio));
  });

  // Media events do not bubble, but they can be captured.
  document.addEventListener("play", (event) => {
    for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
  }, true);
  for (const name of ["play", "pause", "ended", "timeupdate", "emptied"])
    document.addEventListener(name, (event) => event.target.matches?.("audio") && show(event.target), true);
})();
