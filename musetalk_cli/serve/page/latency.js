// How late the avatar is: measured where it can be, said in parts where it cannot.

const FIRST = "From the first audio of an utterance leaving this page to its first frame on this screen.";
const NOW = "From audio leaving this page to its frame on this screen, now: server, network and player together.";

export class LatencyMeter {
  #beganAt = null;
  #firstMs = null;
  #serverMs = null;
  #networkMs = null;
  #playerMs = null;

  /** The first audio of an utterance is being sent. */
  began(moment) {
    this.#beganAt ??= moment;
  }

  /** The server has begun with it: returns when it was sent, for firstFrame. */
  take() {
    const moment = this.#beganAt;
    this.#beganAt = null;
    return moment;
  }

  forget() {
    this.#beganAt = null;
  }

  firstFrame(beganAt, moment) {
    if (beganAt === null) return;
    this.#firstMs = Math.max(0, moment - beganAt);
    performance.clearMeasures("musetalk-utterance");
    performance.measure("musetalk-utterance", { start: beganAt, end: Math.max(beganAt, moment) });
  }

  /** serverMs is null where nobody spoke: the last one stays. */
  update(networkMs, serverMs, aheadS) {
    this.#networkMs = networkMs;
    this.#serverMs = serverMs ?? this.#serverMs;
    this.#playerMs = aheadS * 1000;
  }

  /** isLiveVoice: audio comes as it is spoken, so that how late its last frame is counts, not the first one's. */
  describe(isLiveVoice) {
    const parts = { firstMs: this.#firstMs, serverMs: this.#serverMs, networkMs: this.#networkMs, playerMs: this.#playerMs };
    const canAdd = isLiveVoice && this.#serverMs !== null;
    const nowMs = canAdd ? this.#serverMs + (this.#networkMs ?? 0) + this.#playerMs : this.#firstMs;
    return { ...parts, nowMs, meaning: canAdd ? NOW : FIRST };
  }
}
