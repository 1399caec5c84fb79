// What the avatar is to say: a file or the microphone, as PCM in order, and interruptions.

import { PIECE_S } from "./microphone.js";
import { VoiceGate } from "./voice-gate.js";

const FILE_PIECE_S = 0.25;
const MAX_QUEUED_S = 100; // the server holds 120 s; its figure is up to a second old
const MAX_WAITING_BYTES = 128 * 1024; // more would hold up an interruption on a slow line
const PRE_ROLL_PIECES = 12; // what was said before the gate was sure
const LAGGING_S = 0.8;
const QUIET_RMS = 0.01;

export class Speech {
  #connection;
  #rateHz;
  #on;
  #gate = new VoiceGate(PIECE_S);
  #hasGate = false;
  #preRoll = [];
  #file = null;
  #offset = 0;
  #queuedS = 0;
  #isFileSpoken = false; // from its first sample until the server says that it was finished
  #isOpen = false; // an utterance has begun and was not ended
  #numUnfinished = 0; // utterances that were ended here, and not yet said to their end

  /** on: began() with the first PCM of an utterance, interrupting(). */
  constructor(connection, rateHz, on) {
    this.#connection = connection;
    this.#rateHz = rateHz;
    this.#on = on;
  }

  /** Whether pauses are left out, utterances ended, and the avatar interrupted when the user begins to speak. */
  set hasGate(value) {
    if (value && !this.#file) this.endUtterance(); // the microphone's: from now on it begins with speech
    this.#hasGate = value;
    this.#gate.reset();
    this.#preRoll = [];
  }

  get isFromFile() {
    return this.#isFileSpoken;
  }

  /** Say a whole file, as fast as the server takes it. */
  sayFile(pcm) {
    this.endUtterance();
    this.#file = pcm;
    this.#offset = 0;
    this.#isFileSpoken = true;
    this.pump();
  }

  /** Send what the connection and the server have room for; called with each fragment, which no browser throttles. */
  pump() {
    const size = Math.round(FILE_PIECE_S * this.#rateHz);
    while (this.#file && this.#queuedS < MAX_QUEUED_S && this.#connection.waitingBytes < MAX_WAITING_BYTES) {
      this.#send(this.#file.subarray(this.#offset, this.#offset + size));
      this.#offset += size;
      if (this.#offset < this.#file.length) continue;
      this.#file = null;
      this.endUtterance();
    }
  }

  /** From the server's stats: seconds of voice that it has not said yet. */
  takeQueued(queuedS) {
    this.#queuedS = queuedS + this.#connection.waitingBytes / 2 / this.#rateHz;
    this.pump();
  }

  /** The server has said an utterance to its end. */
  finished() {
    this.#numUnfinished = Math.max(0, this.#numUnfinished - 1);
    if (!this.#file && !this.#isOpen && this.#numUnfinished === 0) this.#isFileSpoken = false;
  }

  takeMicrophone(pcm, rms) {
    if (this.#hasGate) this.#takeGated(pcm, rms);
    // Behind a file it would be late for as long as the file is; where it lags, pauses make up for it.
    else if (!this.#isFileSpoken && !(this.#queuedS > LAGGING_S && rms < QUIET_RMS)) this.#send(pcm);
  }

  endUtterance() {
    if (!this.#isOpen) return;
    this.#connection.send({ type: "end_utterance" });
    this.#isOpen = false;
    this.#numUnfinished += 1;
  }

  interrupt() {
    this.#file = null;
    this.#isFileSpoken = false;
    this.#isOpen = false;
    this.#queuedS = this.#numUnfinished = 0;
    this.#on.interrupting();
    this.#connection.send({ type: "clear" });
  }

  /** A new session: nothing of the last one counts. */
  reset() {
    this.#file = null;
    this.#isFileSpoken = this.#isOpen = false;
    this.#queuedS = this.#numUnfinished = 0;
    this.#gate.reset();
    this.#preRoll = [];
  }

  #takeGated(pcm, rms) {
    const change = this.#gate.take(rms, this.#isFileSpoken);
    this.#preRoll.push(pcm);
    if (change === "opened") {
      if (this.#isFileSpoken) this.interrupt();
      for (const piece of this.#preRoll) this.#send(piece);
    } else if (this.#gate.isOpen || change === "closed") {
      this.#send(pcm);
    }
    if (change === "closed") this.endUtterance();
    if (this.#gate.isOpen || change) this.#preRoll = [];
    else if (this.#preRoll.length > PRE_ROLL_PIECES) this.#preRoll.shift();
  }

  #send(pcm) {
    if (!this.#isOpen) this.#on.began();
    this.#isOpen = true;
    this.#queuedS += pcm.length / this.#rateHz;
    this.#connection.sendAudio(pcm);
  }
}
