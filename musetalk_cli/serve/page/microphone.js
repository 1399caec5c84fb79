// The microphone, echo cancelled, as pieces of s16 PCM at the audio context's rate.

export const PIECE_S = 0.02;

export class MicrophoneError extends Error {}

export class Microphone {
  #context;
  #on;
  #stream = null;
  #nodes = [];

  /** context: a running AudioContext. on: piece(Int16Array, rms), lost(words). */
  constructor(context, on) {
    this.#context = context;
    this.#on = on;
  }

  get isOpen() {
    return this.#stream !== null;
  }

  /** Raises MicrophoneError with words for the user. */
  async open() {
    if (!navigator.mediaDevices?.getUserMedia) throw new MicrophoneError(whyNotOffered());
    let stream;
    try {
      const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new MicrophoneError(REFUSALS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
    }
    this.#stream = stream;
    try {
      await this.#connect(stream);
    } catch (error) {
      this.close();
      throw new MicrophoneError(`The microphone cannot be read: ${error.message}`);
    }
  }

  close() {
    const stream = this.#stream;
    this.#stream = null;
    for (const track of stream?.getTracks() ?? []) track.stop();
    for (const node of this.#nodes) node.disconnect();
    this.#nodes = [];
    this.#context.suspend().catch(() => {});
  }

  async #connect(stream) {
    await this.#context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
    await this.#context.resume();
    if (stream !== this.#stream) return; // closed meanwhile
    const source = this.#context.createMediaStreamSource(stream);
    const numSamples = Math.round(PIECE_S * this.#context.sampleRate);
    const capture = new AudioWorkletNode(this.#context, "capture", {
      numberOfOutputs: 1,
      processorOptions: { numSamples },
    });
    capture.port.onmessage = ({ data }) => this.isOpen && this.#on.piece(data.pcm, data.rms);
    // Its output is silence; without a destination Safari does not run it.
    source.connect(capture).connect(this.#context.destination);
    this.#nodes = [source, capture];
    for (const track of stream.getAudioTracks()) {
      track.addEventListener("ended", () => {
        if (stream === this.#stream) this.#on.lost("The microphone was unplugged, or taken by another program.");
      });
    }
  }
}

const REFUSALS = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it in the address bar, then try again.",
  SecurityError: "The browser was not allowed to use the microphone. Allow it in the address bar, then try again.",
  NotFoundError: "No microphone was found. Plug one in, then try again.",
  NotReadableError: "The microphone is in use by another program.",
  AbortError: "The microphone could not be started.",
  OverconstrainedError: "No microphone was found that can record mono audio.",
};

function whyNotOffered() {
  return isSecureContext
    ? "This browser offers no microphone to pages."
    : "Browsers give the microphone only to pages over https, or on localhost. Audio files work here, too.";
}
