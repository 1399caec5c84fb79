// Cuts what the microphone gives into pieces of s16 PCM, mono, on the audio thread.

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.piece = new Int16Array(processorOptions.numSamples);
    this.used = 0;
    this.sumOfSquares = 0;
  }

  process([channels]) {
    const length = channels?.[0]?.length ?? 0;
    for (let index = 0; index < length; index += 1) {
      let sample = 0;
      for (const channel of channels) sample += channel[index];
      this.add(sample / channels.length);
    }
    return true;
  }

  add(sample) {
    const clipped = Math.max(-1, Math.min(1, sample));
    this.piece[this.used] = Math.round(clipped * 32767);
    this.sumOfSquares += clipped * clipped;
    this.used += 1;
    if (this.used < this.piece.length) return;
    const pcm = this.piece;
    const rms = Math.sqrt(this.sumOfSquares / pcm.length);
    this.piece = new Int16Array(pcm.length);
    this.used = 0;
    this.sumOfSquares = 0;
    this.port.postMessage({ pcm, rms }, [pcm.buffer]);
  }
}

registerProcessor("capture", Capture);
