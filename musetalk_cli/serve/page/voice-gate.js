// Tells speech from pauses by its level: opens quickly, closes after a hangover, follows the noise of the room.

const LOWEST_DB = -52;
const MARGIN_DB = 10;
const CLOSING_DB = 4; // lower than the level that opens it, so that it does not flutter
const STRICT_DB = 6; // against what the echo canceller leaves of the avatar's own voice
const ATTACK_S = 0.06;
const STRICT_ATTACK_S = 0.14;
const HANGOVER_S = 0.7;
const QUIET_DB = -80;

export class VoiceGate {
  isOpen = false;
  #pieceS;
  #noiseDb = -65;
  #loudS = 0;
  #quietS = 0;

  /** pieceS: how long the pieces are whose level it takes. */
  constructor(pieceS) {
    this.#pieceS = pieceS;
  }

  /**
   * Take the RMS (0 … 1) of the next piece. Returns "opened" or "closed" when it changes, else null.
   * isStrict: while the avatar speaks, its own voice must not open it.
   */
  take(rms, isStrict = false) {
    const levelDb = Math.max(QUIET_DB, 20 * Math.log10(rms + 1e-9));
    const openingDb = Math.max(LOWEST_DB, this.#noiseDb + MARGIN_DB) + (isStrict ? STRICT_DB : 0);
    this.#followNoise(levelDb);
    this.#loudS = levelDb > openingDb ? this.#loudS + this.#pieceS : Math.max(0, this.#loudS - this.#pieceS);
    this.#quietS = levelDb < openingDb - CLOSING_DB ? this.#quietS + this.#pieceS : 0;
    if (!this.isOpen && this.#loudS >= (isStrict ? STRICT_ATTACK_S : ATTACK_S) - 1e-6) return this.#become(true);
    if (this.isOpen && this.#quietS >= HANGOVER_S - 1e-6) return this.#become(false);
    return null;
  }

  reset() {
    this.isOpen = false;
    this.#loudS = this.#quietS = 0;
  }

  #become(isOpen) {
    this.isOpen = isOpen;
    this.#loudS = this.#quietS = 0;
    return isOpen ? "opened" : "closed";
  }

  /** Down at once, up by 3 dB a second, while it is open by half a dB: speech has gaps, a fan has none. */
  #followNoise(levelDb) {
    if (levelDb < this.#noiseDb) this.#noiseDb += 0.2 * (levelDb - this.#noiseDb);
    else this.#noiseDb += Math.min(levelDb - this.#noiseDb, (this.isOpen ? 0.5 : 3) * this.#pieceS);
  }
}
