// Brings the parts together: a click starts a session, what it sends is played, what the user says is sent.

import { AudioFileError, decodeAudioFile } from "./audio-file.js";
import { Connection } from "./connection.js";
import { LatencyMeter } from "./latency.js";
import { Microphone, MicrophoneError } from "./microphone.js";
import { Player, Source } from "./player.js";
import { explainHttp } from "./reasons.js";
import { addressOf, authorized } from "./requests.js";
import { Speech } from "./speech.js";
import * as view from "./view.js";

const { elements } = view;
const FADE_S = 0.1; // 20 ms, and what the audio encoder still holds
const INTERRUPTED_FOR_MS = 1500;
const AFTER_INTERRUPTION_MS = 2500; // audio is let through again, should no answer come

let token = takeToken();
let avatars = [];
let avatar = null;
let place = null; // the path that says where a session is opened, where it is not here
let context = null; // an AudioContext: its rate is the session's
let connection = null;
let player = null;
let speech = null;
let microphone = null;
let latency = new LatencyMeter();
let isMuted = false;
let stateTimer = 0;
let isLive = false;

// --- the session ---------------------------------------------------------------------------------------------------

function start() {
  if (!Source) {
    view.showCover({ title: "This browser cannot play live video.", hint: "It has no Media Source Extensions: iPhones need iOS 17.1." });
    return;
  }
  performance.clearMarks();
  performance.mark("musetalk-start");
  stop();
  context = new AudioContext({ latencyHint: "interactive" });
  context.suspend().catch(() => {}); // until a microphone needs it
  connection = new Connection({ token, place, start: startMessage, on: connectionEvents });
  speech = new Speech(connection, context.sampleRate, speechEvents);
  speech.hasGate = elements.gate.checked;
  microphone = new Microphone(context, microphoneEvents);
  player = openPlayer();
  connection.open();
}

function startMessage() {
  const message = { type: "start", version: 1, rate_hz: context.sampleRate, format: "s16le", channels: 1 };
  return avatar ? { ...message, avatar } : message;
}

function openPlayer() {
  latency = new LatencyMeter();
  const opened = new Player(elements.video, playerEvents);
  opened.isMuted = isMuted;
  return opened;
}

/** End the session and everything that it holds. */
function stop() {
  closeMicrophone();
  connection?.close();
  player?.close();
  context?.close().catch(() => {});
  connection = player = speech = microphone = context = null;
  isLive = false;
  clearTimeout(stateTimer);
}

function end(reason) {
  view.holdFrame();
  stop();
  view.notify(""); // what was wrong with the session that has ended
  view.showPhase("ended");
  view.showState("ended");
  const asksToken = reason.code === "token";
  view.showCover({ title: reason.text, hint: reason.hint, button: asksToken ? "" : "Start again", asksToken });
  if (asksToken) elements.token.focus();
}

const connectionEvents = {
  connecting() {
    if (document.body.dataset.phase === "reconnecting") return;
    view.showPhase("connecting");
    view.showState("connecting");
    view.showCover({});
  },
  message(message) {
    MESSAGES[message.type]?.(message);
  },
  media(data) {
    player.append(data);
    if (isLive) speech.pump();
  },
  lost({ text, hint }) {
    if (isLive) view.holdFrame();
    isLive = false;
    player.close();
    speech.reset();
    view.showPhase("reconnecting");
    view.showState("reconnecting");
    view.showCover({ title: text, hint, button: "Try now", canStop: true });
  },
  ended: end,
};

const MESSAGES = {
  ready({ mime, fps, lead_s, width, height }) {
    if (player.isClosed) player = openPlayer();
    view.showAspect(width, height);
    player.start(mime, fps, lead_s).catch((error) => playerEvents.failed(error.message));
  },
  utterance_started({ utterance, time_s }) {
    const began = latency.take();
    player.at(time_s, (moment) => {
      latency.firstFrame(began, moment);
      speakingUtterance = utterance;
      showSpeech("speaking");
    });
  },
  utterance_finished({ utterance, interrupted }) {
    if (interrupted) return;
    speech.finished();
    player.at(player.endS, () => speakingUtterance === utterance && showSpeech("idle"));
  },
  cleared() {
    // All that came before is from before the interruption.
    player.silentUntil(player.endS + FADE_S);
  },
  stats({ queued_s, latency_ms }) {
    speech.takeQueued(queued_s);
    const isLiveVoice = microphone.isOpen && !speech.isFromFile;
    latency.update(connection.roundTripMs, latency_ms, player.aheadS);
    view.showLatency(latency.describe(isLiveVoice));
  },
  late({ num_held }) {
    if (num_held > 0) view.notify("The server is busy: some frames came late.");
  },
  draining() {
    view.notify("The server is about to shut down.");
  },
  error({ code, message, fatal }) {
    if (!fatal) view.notify(code === "queue_full" ? "The server's queue is full: some audio was left out." : message);
  },
};

let speakingUtterance = null;

const playerEvents = {
  firstFrame() {
    performance.mark("musetalk-first-frame");
    isLive = true;
    view.dropFrame();
    view.hideCover();
    view.showPhase("live");
    showSpeech("idle");
  },
  blocked() {
    view.showCover({ title: "The browser waits for a click before it plays.", button: "Play" });
  },
  failed(words) {
    end({ text: words, hint: "Another browser, or an update of this one, may play it." });
  },
};

/** idle, speaking or interrupted; the last one turns into idle. */
function showSpeech(state) {
  if (!isLive) return;
  clearTimeout(stateTimer);
  view.showState(state);
  elements.interrupt.disabled = state !== "speaking" && !speech.isFromFile;
  if (state === "interrupted") stateTimer = setTimeout(() => showSpeech("idle"), INTERRUPTED_FOR_MS);
}

// --- what is said --------------------------------------------------------------------------------------------------

const speechEvents = {
  began() {
    latency.began(performance.now());
  },
  interrupting() {
    latency.forget();
    player.silence();
    speakingUtterance = null;
    const silenced = player;
    setTimeout(() => silenced.isSilenced && silenced.silentUntil(0), AFTER_INTERRUPTION_MS);
    showSpeech("interrupted");
  },
};

const microphoneEvents = {
  piece(pcm, rms) {
    view.showLevel(rms);
    if (isLive) speech.takeMicrophone(pcm, rms);
  },
  lost(words) {
    closeMicrophone();
    view.notify(words, { isError: true });
  },
};

async function toggleMicrophone() {
  if (microphone.isOpen) {
    closeMicrophone();
    return;
  }
  const opened = microphone;
  elements["mic-button"].disabled = true;
  try {
    await opened.open();
    view.showMicrophone(opened.isOpen && opened === microphone);
    view.notify("");
  } catch (error) {
    if (!(error instanceof MicrophoneError)) throw error;
    view.notify(error.message, { isError: true });
  } finally {
    elements["mic-button"].disabled = !isLive;
  }
}

function closeMicrophone() {
  if (microphone?.isOpen) {
    microphone.close();
    speech.endUtterance();
  }
  view.showMicrophone(false);
}

async function sayFile(file) {
  if (!isLive || !file) return;
  const speaker = speech;
  view.notify(`Reading ${file.name} …`);
  try {
    const pcm = await decodeAudioFile(file, context.sampleRate);
    if (speaker !== speech || !isLive) return;
    if (speech.isFromFile) interrupt();
    speech.sayFile(pcm);
    elements.interrupt.disabled = false;
    view.notify(file.name);
  } catch (error) {
    if (!(error instanceof AudioFileError)) throw error;
    view.notify(error.message, { isError: true });
  }
}

function interrupt() {
  if (isLive && !elements.interrupt.disabled) speech.interrupt();
}

// --- avatars and the token -----------------------------------------------------------------------------------------

/** From #token=…, which then leaves the address; this tab remembers it. It is never part of a request's address. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname + location.search);
    remember(given);
    return given;
  }
  try {
    return sessionStorage.getItem("musetalk-token") ?? "";
  } catch {
    return "";
  }
}

function remember(value) {
  try {
    sessionStorage.setItem("musetalk-token", value);
  } catch {
    // Storage may be switched off: then a reload asks again.
  }
}

async function loadAvatars() {
  let reason = { text: "The server does not answer.", hint: "Is it running? Try again in a moment." };
  try {
    const response = await fetch(addressOf("v1/avatars"), { headers: authorized(token), cache: "no-store" });
    if (response.ok) {
      const offered = await response.json();
      await showAvatars(offered);
      return true;
    }
    reason = explainHttp(response);
  } catch {
    // Said below.
  }
  view.showPhase("start");
  const asksToken = reason.code === "token";
  const title = asksToken && token ? "The server does not accept this token." : reason.text;
  view.showCover({ title, hint: reason.hint, button: asksToken ? "" : "Try again", asksToken });
  return false;
}

async function showAvatars(offered) {
  const thumbnails = await Promise.all(offered.avatars.map(({ thumbnail }) => loadThumbnail(thumbnail)));
  avatars = offered.avatars.map(({ name, width, height }, index) => ({ name, width, height, thumbnail: thumbnails[index] }));
  avatar = avatar ?? offered.default;
  place = offered.place;
  view.listAvatars(avatars, avatar, chooseAvatar);
  showChosen();
  view.showPhase("start");
  view.showCover({ button: "Start" });
}

/** With a token, an image's own request could not send it but in its address. */
async function loadThumbnail(path) {
  const address = addressOf(path.replace(/^\//, ""));
  if (!token) return address.href;
  try {
    const response = await fetch(address, { headers: authorized(token) });
    return response.ok ? await dataUrl(await response.blob()) : null;
  } catch {
    return null;
  }
}

function dataUrl(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => resolve(null);
    reader.readAsDataURL(blob);
  });
}

function showChosen() {
  const chosen = avatars.find(({ name }) => name === avatar);
  if (!chosen) return;
  view.showPoster(chosen.thumbnail);
  if (chosen.width > 0 && chosen.height > 0) view.showAspect(chosen.width, chosen.height);
}

function chooseAvatar(name) {
  avatar = name;
  view.dropFrame();
  showChosen();
  const isRunning = connection !== null;
  if (isRunning) start();
  else view.showCover({ button: "Start" });
}

// --- keys, clicks, files -------------------------------------------------------------------------------------------

async function startOrRetry() {
  if (document.body.dataset.phase === "reconnecting") connection.retry();
  else if (isLive) player.play();
  else if (avatars.length || (await loadAvatars())) start();
  if (isLive) view.hideCover();
}

elements.start.addEventListener("click", startOrRetry);
elements["stop-trying"].addEventListener("click", () => end({ text: "Not connected." }));
elements.end.addEventListener("click", () => end({ text: "The conversation has ended." }));
elements["mic-button"].addEventListener("click", toggleMicrophone);
elements.interrupt.addEventListener("click", interrupt);
elements["file-button"].addEventListener("click", () => elements["file-input"].click());
elements["file-input"].addEventListener("change", () => {
  sayFile(elements["file-input"].files[0]);
  elements["file-input"].value = ""; // so that the same file can be chosen again
});
elements.gate.addEventListener("change", () => {
  if (speech) speech.hasGate = elements.gate.checked;
});
elements.mute.addEventListener("click", () => {
  isMuted = !isMuted;
  player.isMuted = isMuted;
  view.showMuted(isMuted);
});
elements.full.addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (elements.frame.requestFullscreen) elements.frame.requestFullscreen().catch(() => {});
  else elements.video.webkitEnterFullscreen?.(); // iPhones
});
elements["token-form"].addEventListener("submit", async (event) => {
  event.preventDefault();
  token = elements.token.value.trim();
  remember(token);
  elements.token.value = "";
  if (await loadAvatars()) elements.start.focus();
});

addEventListener("keydown", (event) => {
  const isOnControl = event.target.closest?.("button, input, summary, a, select, textarea");
  const isInterrupt = event.key === "Escape" || (event.key === " " && !isOnControl);
  if (!isInterrupt || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " ") event.preventDefault(); // it would scroll
  if (elements.latency.open) elements.latency.open = false;
  interrupt();
});

let numInside = 0; // dragenter and dragleave come for each element on the way
for (const [name, change] of [["dragenter", 1], ["dragleave", -1]]) {
  addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    numInside = Math.max(0, numInside + change);
    elements.drop.hidden = numInside === 0;
  });
}
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  numInside = 0;
  elements.drop.hidden = true;
  if (isLive) sayFile(event.dataTransfer.files[0]);
  else view.notify("Start the conversation first, then drop the file.");
});

document.addEventListener("click", (event) => {
  if (!elements.latency.contains(event.target)) elements.latency.open = false;
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && microphone?.isOpen) context.resume().catch(() => {});
});
addEventListener("pagehide", (event) => {
  if (connection) end({ text: "The conversation has ended." });
  if (event.persisted) view.notify("");
});

if (!document.fullscreenEnabled && !elements.video.webkitEnterFullscreen) elements.full.hidden = true;
view.showState("ended");
loadAvatars();
