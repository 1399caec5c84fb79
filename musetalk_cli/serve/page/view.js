// What the page shows: words and states into its elements. It knows no session.

const byId = (id) => document.getElementById(id);

export const elements = Object.fromEntries(
  [
    "frame", "poster", "still", "video", "cover", "start", "stop-trying", "token-form", "token", "drop", "mic-button",
    "file-button", "file-input", "interrupt", "mute", "full", "end", "gate", "latency",
  ].map((id) => [id, byId(id)]),
);

const STATES = {
  idle: "Idle",
  speaking: "Speaking",
  interrupted: "Interrupted",
  connecting: "Connecting",
  reconnecting: "Reconnecting",
  ended: "",
};

let noticeTimer = 0;

/** phase: start, connecting, live, reconnecting or ended; styles and controls follow it. */
export function showPhase(phase) {
  document.body.dataset.phase = phase;
  const isLive = phase === "live";
  const why = phase === "start" || phase === "ended" ? "Press Start first" : "Waits for the connection";
  for (const id of ["mic-button", "file-button", "mute"]) elements[id].disabled = !isLive;
  for (const id of ["mic-button", "file-button", "interrupt", "end"]) {
    elements[id].dataset.title ??= elements[id].title;
    elements[id].title = isLive ? elements[id].dataset.title : why;
  }
  elements.end.disabled = phase === "start" || phase === "ended";
  if (!elements.end.disabled) elements.end.title = elements.end.dataset.title;
  elements.latency.hidden = !isLive;
  if (!isLive) elements.interrupt.disabled = true;
}

export function showState(state) {
  document.body.dataset.state = state;
  setText("state-word", STATES[state]);
}

/** Over the video: why there is none, and what can be done. button "" for none. */
export function showCover({ title = "", hint = "", button = "", canStop = false, asksToken = false }) {
  setText("cover-title", title);
  setText("cover-hint", hint);
  elements["token-form"].hidden = !asksToken;
  elements.start.hidden = !button;
  elements.start.textContent = button;
  elements["stop-trying"].hidden = !canStop;
  elements.cover.classList.toggle("has-text", Boolean(title));
  elements.cover.hidden = false;
}

export function hideCover() {
  elements.cover.hidden = true;
}

/** A line under the video, for some seconds; an error stays. */
export function notify(text, { isError = false } = {}) {
  clearTimeout(noticeTimer);
  byId("notice").classList.toggle("is-error", isError);
  setText("notice", text);
  if (text && !isError) noticeTimer = setTimeout(() => setText("notice", ""), 6000);
}

/** All in milliseconds, null where it is not known. */
export function showLatency({ nowMs, firstMs, serverMs, networkMs, playerMs, meaning }) {
  setText("latency-value", milliseconds(nowMs));
  setText("latency-first", milliseconds(firstMs));
  setText("latency-server", milliseconds(serverMs));
  setText("latency-network", milliseconds(networkMs));
  setText("latency-player", milliseconds(playerMs));
  setText("latency-meaning", meaning);
}

export function showMicrophone(isOn) {
  elements["mic-button"].setAttribute("aria-pressed", String(isOn));
  if (!isOn) showLevel(0);
}

/** rms: 0 … 1 of the last piece. */
export function showLevel(rms) {
  const share = rms > 0 ? Math.max(0, Math.min(1, 1 + Math.log10(rms) / 2.5)) : 0;
  byId("meter").style.setProperty("--level", share.toFixed(2));
}

export function showMuted(isMuted) {
  elements.mute.setAttribute("aria-pressed", String(isMuted));
  byId("mute-icon").setAttribute("href", isMuted ? "#icon-muted" : "#icon-speaker");
}

export function showAspect(width, height) {
  elements.frame.style.setProperty("--aspect", `${width} / ${height}`);
  elements.frame.style.setProperty("--ratio", String(width / height));
}

/** Hold the frame that is on the screen while the next session begins. */
export function holdFrame() {
  const { video, still } = elements;
  if (!video.videoWidth) return;
  still.width = video.videoWidth;
  still.height = video.videoHeight;
  still.getContext("2d").drawImage(video, 0, 0);
  still.hidden = false;
}

export function dropFrame() {
  elements.still.hidden = true;
}

/** avatars: {name, thumbnail}; thumbnail is an address or null. onChoose(name). */
export function listAvatars(avatars, chosen, onChoose) {
  byId("avatar-list").replaceChildren(
    ...avatars.map(({ name, thumbnail }) => {
      const label = document.createElement("label");
      label.className = "avatar";
      const input = document.createElement("input");
      input.type = "radio";
      input.name = "avatar";
      input.value = name;
      input.checked = name === chosen;
      input.addEventListener("change", () => onChoose(name));
      const image = document.createElement("img");
      image.alt = "";
      image.width = image.height = 96;
      if (thumbnail) image.src = thumbnail;
      const word = document.createElement("span");
      word.textContent = name;
      label.append(input, image, word);
      return label;
    }),
  );
}

export function showPoster(address) {
  elements.poster.hidden = !address;
  if (address) elements.poster.src = address;
}

function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 5) return "< 5 ms";
  return value < 1000 ? `${Math.round(value / 10) * 10} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** Only where it changes: a screen reader says each change of a live region. */
function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
