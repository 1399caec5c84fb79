// Plays one session's fragments as they come, close behind the newest.

const MAX_BEHIND_S = 1; // further behind its target than that, it seeks
const MAX_RATE = 1.1; // audio keeps its pitch, and nobody notices
const MIN_RATE = 0.95;
const TARGET_OF_LEAD = 0.7;
const MIN_TARGET_S = 0.12;
const MAX_TARGET_S = 0.8;
const UNDERRUN_STEP_S = 0.08;
const SLACK_S = 0.06;
// A removal reaches up to the next keyframe. They are 10 s apart at most, so that what is played stays.
const TRIM_AT_S = 30;
const KEEP_S = 15;
const ENOUGH_AHEAD_S = 1; // ManagedMediaSource: what is ahead when its "endstreaming" is honoured

/** The browser's MediaSource; iPhones have only ManagedMediaSource; null where there is neither. */
export const Source = globalThis.MediaSource ?? globalThis.ManagedMediaSource ?? null;

export class Player {
  #video;
  #on;
  #source = new Source();
  #buffer = null;
  #queue = [];
  #cues = [];
  #targetS = 0.25;
  #frameS = 0.04;
  #numFragments = 0;
  #hasInit = false;
  #isClosed = false;
  #silentUntilS = 0;
  #isMuted = false;
  #ended = new AbortController();

  /**
   * Call it while the browser handles a click: it begins to play, so audio is allowed from then on.
   * on: firstFrame(), blocked() (the browser wants a click), failed(words).
   */
  constructor(video, on) {
    this.#video = video;
    this.#on = on;
    const { signal } = this.#ended;
    const isManaged = !globalThis.MediaSource;
    video.disableRemotePlayback = isManaged; // else a ManagedMediaSource does not open
    const address = URL.createObjectURL(this.#source);
    const opened = new Promise((resolve) => {
      this.#source.addEventListener("sourceopen", resolve, { once: true, signal });
    });
    this.opened = opened.then(() => URL.revokeObjectURL(address));
    this.#source.addEventListener("startstreaming", () => this.#flush(), { signal });
    video.addEventListener("waiting", () => this.#ranDry(), { signal });
    video.addEventListener("pause", () => this.#steer(), { signal }); // Safari pauses when it runs dry
    video.addEventListener("error", () => this.#fail(video.error?.message), { signal });
    document.addEventListener("visibilitychange", () => this.#steer(), { signal });
    video.src = address;
    video.muted = this.#isMuted;
    this.#watchFrames();
    this.play();
  }

  /** Take fragments of this type; leadS: how far they come ahead of the clock. */
  async start(mime, fps, leadS) {
    await this.opened;
    if (this.#isClosed) return;
    if (!Source.isTypeSupported(mime)) {
      this.#fail("it has no decoder for H.264 and AAC");
      return;
    }
    this.#frameS = 1 / fps;
    this.#targetS = Math.min(Math.max(TARGET_OF_LEAD * leadS, MIN_TARGET_S), MAX_TARGET_S);
    this.#buffer = this.#source.addSourceBuffer(mime);
    const { signal } = this.#ended;
    this.#buffer.addEventListener("updateend", () => this.#updated(), { signal });
    this.#buffer.addEventListener("error", () => this.#fail("it refused a fragment"), { signal });
    this.#flush();
  }

  /** Queue the init segment or a fragment of one frame. */
  append(data) {
    if (this.#isClosed) return;
    if (this.#hasInit) this.#numFragments += 1;
    this.#hasInit = true;
    this.#queue.push(new Uint8Array(data));
    this.#flush();
  }

  /** Where in the stream the last fragment that came ends, in seconds. */
  get endS() {
    return this.#numFragments * this.#frameS;
  }

  /** Seconds of video that are here and not yet shown. */
  get aheadS() {
    return Math.max(0, this.endS - this.#video.currentTime);
  }

  /** Call back when the frame at a time of the stream is shown, with the moment on performance's clock. */
  at(timeS, callback) {
    this.#cues.push({ timeS, callback });
    this.#runCues(this.#video.currentTime, performance.now());
  }

  /** Silence now, up to a time of the stream that silentUntil names: what was sent before an interruption. */
  silence() {
    this.#silentUntilS = Infinity;
    this.#applyMute();
  }

  silentUntil(timeS) {
    this.#silentUntilS = timeS;
    this.#applyMute();
  }

  /** Whether silence() holds, with no end yet. */
  get isSilenced() {
    return this.#silentUntilS === Infinity;
  }

  get isClosed() {
    return this.#isClosed;
  }

  set isMuted(value) {
    this.#isMuted = value;
    this.#applyMute();
  }

  play() {
    this.#video.play()?.catch((error) => {
      if (error.name === "NotAllowedError" && !this.#isClosed) this.#on.blocked();
    });
  }

  /** Stop, and let go of the decoder and its buffers: the element is empty then. Twice is once. */
  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#ended.abort();
    this.#queue = [];
    this.#cues = [];
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  #flush() {
    const buffer = this.#buffer;
    if (this.#isClosed || !buffer || buffer.updating || this.#queue.length === 0) return;
    if (this.#source.readyState !== "open" || this.#video.error) return;
    if (this.#source.streaming === false && this.#bufferedAheadS() >= ENOUGH_AHEAD_S) return;
    const data = joined(this.#queue);
    try {
      buffer.appendBuffer(data);
      this.#queue = [];
    } catch (error) {
      if (error.name !== "QuotaExceededError") this.#fail(error.message);
      else this.#makeRoom();
    }
  }

  #updated() {
    this.#trim();
    this.#flush();
    this.#steer();
  }

  #makeRoom() {
    const { buffered } = this.#buffer;
    const upToS = this.#video.currentTime - KEEP_S;
    if (buffered.length && buffered.start(0) < upToS) this.#buffer.remove(0, upToS);
    else this.#fail("its buffer is full");
  }

  #trim() {
    const { buffered, updating } = this.#buffer;
    const now = this.#video.currentTime;
    if (updating || this.#isClosed || !buffered.length || now - buffered.start(0) < TRIM_AT_S) return;
    this.#buffer.remove(0, now - KEEP_S);
  }

  #bufferedAheadS() {
    const { buffered } = this.#buffer;
    return buffered.length ? buffered.end(buffered.length - 1) - this.#video.currentTime : 0;
  }

  /** Keep close behind the newest frame: a little faster or slower, a seek where that would take too long. */
  #steer() {
    const video = this.#video;
    if (this.#isClosed || !this.#buffer || video.error || !this.#buffer.buffered.length) return;
    const { buffered } = this.#buffer;
    const last = buffered.length - 1;
    const aheadS = buffered.end(last) - video.currentTime;
    this.#runCues(video.currentTime, performance.now());
    if (video.seeking) return;
    if (video.currentTime < buffered.start(last)) {
      video.currentTime = Math.max(buffered.start(last), buffered.end(last) - this.#targetS);
    } else if (aheadS > this.#targetS + MAX_BEHIND_S) {
      video.currentTime = buffered.end(last) - this.#targetS;
    } else {
      const rate = chooseRate(aheadS - this.#targetS, video.playbackRate);
      if (rate !== video.playbackRate) video.playbackRate = rate;
    }
    if (video.paused && aheadS > this.#frameS) this.play();
  }

  /** An underrun: from now on it stays further behind. */
  #ranDry() {
    if (this.#video.currentTime > 1) this.#targetS = Math.min(this.#targetS + UNDERRUN_STEP_S, MAX_TARGET_S);
    this.#steer();
  }

  #watchFrames() {
    const video = this.#video;
    let isFirst = true;
    const shown = (now, timeS) => {
      if (this.#isClosed) return;
      if (isFirst) this.#on.firstFrame();
      isFirst = false;
      this.#runCues(timeS, now);
    };
    if (video.requestVideoFrameCallback) {
      const next = (now, frame) => {
        shown(frame.expectedDisplayTime ?? now, frame.mediaTime);
        if (!this.#isClosed) video.requestVideoFrameCallback(next);
      };
      video.requestVideoFrameCallback(next);
    } else {
      const { signal } = this.#ended;
      video.addEventListener("timeupdate", () => shown(performance.now(), video.currentTime), { signal });
    }
  }

  #runCues(timeS, now) {
    if (timeS >= this.#silentUntilS && this.#silentUntilS > 0) this.silentUntil(0);
    const due = this.#cues.filter((cue) => cue.timeS <= timeS + this.#frameS / 2);
    if (due.length === 0) return;
    this.#cues = this.#cues.filter((cue) => !due.includes(cue));
    for (const cue of due) cue.callback(now);
  }

  #applyMute() {
    this.#video.muted = this.#isMuted || this.#silentUntilS > 0;
  }

  #fail(reason) {
    if (this.#isClosed) return;
    this.close();
    this.#on.failed(`This browser cannot play the video: ${reason || "it does not say why"}.`);
  }
}

/** The rate that brings the distance back to its target; within the slack it stays as it is. */
function chooseRate(excessS, rateNow) {
  if (excessS > SLACK_S) return Math.min(MAX_RATE, 1.03 + excessS / 5);
  if (excessS < -2 * SLACK_S) return MIN_RATE;
  const hasArrived = rateNow > 1 ? excessS < SLACK_S / 3 : excessS > -SLACK_S / 2;
  return hasArrived ? 1 : rateNow;
}

function joined(parts) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
