// An audio file, decoded by the browser, as mono s16 PCM.

const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_DURATION_S = 20 * 60;

export class AudioFileError extends Error {}

/** Returns an Int16Array at rateHz. Raises AudioFileError with words for the user. */
export async function decodeAudioFile(file, rateHz) {
  const name = file.name || "The file";
  if (file.size > MAX_FILE_BYTES) throw new AudioFileError(`${name} is larger than 64 MB.`);
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, rateHz).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new AudioFileError(`${name} holds no audio that this browser can decode. WAV, MP3 and M4A always work.`);
  }
  if (audio.duration > MAX_DURATION_S) throw new AudioFileError(`${name} is longer than 20 minutes.`);
  return toMono(audio);
}

function toMono(audio) {
  const channels = Array.from({ length: audio.numberOfChannels }, (_, index) => audio.getChannelData(index));
  const pcm = new Int16Array(audio.length);
  for (let index = 0; index < pcm.length; index += 1) {
    let sample = 0;
    for (const channel of channels) sample += channel[index];
    pcm[index] = Math.round(Math.max(-1, Math.min(1, sample / channels.length)) * 32767);
  }
  return pcm;
}
