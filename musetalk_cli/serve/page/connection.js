// One WebSocket session after another: protocol v1, pings, and reconnecting with a back-off.

import { addressOf, authorized, base64url } from "./requests.js";
import { BLOCKED, UNREACHED, explainClose, explainHttp, explainRefusal } from "./reasons.js";

const SUBPROTOCOL = "musetalk.v1";
const PING_EVERY_MS = 2000;
const SILENT_AFTER_MS = 6000; // stats come every second: without a word for so long, the connection is lost
const OPEN_WITHIN_MS = 10000;
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 15000;
const STEADY_AFTER_MS = 5000; // a session that lived so long starts the back-off anew

export class Connection {
  #on;
  #token;
  #place;
  #start;
  #socket = null;
  #isPlacing = false;
  #timers = new Set();
  #numTries = 0;
  #isWanted = false;
  #lastError = null;
  #sentPings = new Map();
  #numPings = 0;
  roundTripMs = null;

  /**
   * token: a string or "". place: the path that says where each session is opened; "" or null where it is here.
   * start: the first message, called for each session.
   * on: connecting(), message(object), media(ArrayBuffer), lost({text, hint, waitMs}) before each wait,
   * ended({text, hint, code}) when it is of no use to try again.
   */
  constructor({ token, place, start, on }) {
    this.#token = token;
    this.#place = place;
    this.#start = start;
    this.#on = on;
    addEventListener("online", this.#retryNow);
  }

  open() {
    this.#isWanted = true;
    this.#connect();
  }

  /** Try at once, if it waits for the next try. */
  retry() {
    if (this.#isWanted && !this.#socket && !this.#isPlacing) this.#connect();
  }

  close() {
    this.#isWanted = false;
    this.#clearTimers();
    removeEventListener("online", this.#retryNow);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Bytes that wait to leave this computer. */
  get waitingBytes() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  send(message) {
    if (this.isOpen) this.#socket.send(JSON.stringify(message));
  }

  /** pcm: Int16Array in the rate that the start message named. */
  sendAudio(pcm) {
    if (this.isOpen) this.#socket.send(pcm);
  }

  #retryNow = () => this.retry();

  #connect() {
    this.#clearTimers();
    this.#numTries += 1;
    this.#lastError = null;
    this.#on.connecting();
    if (this.#place) this.#askForPlace();
    else this.#openSocket(ownSession());
  }

  /** The server names the machine that opens the session. */
  async #askForPlace() {
    this.#isPlacing = true;
    let session = null;
    let reason = null;
    try {
      const signal = AbortSignal.timeout?.(OPEN_WITHIN_MS);
      const address = addressOf(this.#place.replace(/^\//, ""));
      const response = await fetch(address, { method: "POST", headers: authorized(this.#token), signal });
      if (response.ok) ({ session } = await response.json());
      else if (response.status !== 503) reason = explainHttp(response);
    } catch {
      // The status tells what is wrong, or does not answer either.
    }
    reason = session ? null : reason ?? (await explainRefusal(addressOf("v1/status"), this.#token));
    this.#isPlacing = false;
    if (!this.#isWanted) return;
    if (session) this.#openSocket(session);
    else this.#wait(reason);
  }

  #openSocket(address) {
    const protocols = [SUBPROTOCOL];
    if (this.#token) protocols.push(`musetalk.token.${base64url(this.#token)}`);
    let socket;
    try {
      socket = new WebSocket(address, protocols);
    } catch {
      this.#wait(BLOCKED);
      return;
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    let openedAt = null;
    this.#later(OPEN_WITHIN_MS, () => openedAt === null && this.#abandon(socket, openedAt));
    socket.addEventListener("open", () => {
      if (socket !== this.#socket) return;
      openedAt = performance.now();
      this.send(this.#start());
      this.#keepAlive(socket, openedAt);
    });
    socket.addEventListener("message", ({ data }) => socket === this.#socket && this.#take(data));
    socket.addEventListener("close", ({ code }) => socket === this.#socket && this.#closed(code, openedAt));
  }

  #take(data) {
    this.lastWordAt = performance.now();
    if (typeof data !== "string") {
      this.#on.media(data);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "pong") this.#pong(message.id);
    if (message.type === "error" && message.fatal) this.#lastError = message;
    this.#on.message(message);
  }

  #keepAlive(socket, openedAt) {
    this.lastWordAt = openedAt;
    this.#sentPings.clear();
    const tick = () => {
      if (socket !== this.#socket) return;
      // A hidden page does not ping: the server ends a session that nobody uses.
      if (document.visibilityState === "visible") this.ping();
      if (performance.now() - this.lastWordAt > SILENT_AFTER_MS) this.#abandon(socket, openedAt);
      else this.#later(PING_EVERY_MS, tick);
    };
    tick();
  }

  ping() {
    this.#numPings += 1;
    this.#sentPings.set(this.#numPings, performance.now());
    this.send({ type: "ping", id: this.#numPings });
  }

  #pong(id) {
    const sentAt = this.#sentPings.get(id);
    if (sentAt === undefined) return;
    this.#sentPings.delete(id);
    const measuredMs = performance.now() - sentAt;
    this.roundTripMs = this.roundTripMs === null ? measuredMs : 0.7 * this.roundTripMs + 0.3 * measuredMs;
  }

  #abandon(socket, openedAt) {
    socket.close();
    this.#closed(1006, openedAt);
  }

  async #closed(code, openedAt) {
    this.#socket = null;
    this.#clearTimers();
    this.roundTripMs = null;
    const wasOpen = openedAt !== null;
    if (wasOpen && performance.now() - openedAt > STEADY_AFTER_MS) this.#numTries = 0;
    const error = this.#lastError;
    const reason = wasOpen ? explainClose(code, error) : await this.#explainUnopened();
    if (!this.#isWanted || this.#socket || this.#isPlacing) return;
    this.#wait(reason);
  }

  async #explainUnopened() {
    const reason = await explainRefusal(addressOf("v1/status"), this.#token);
    return this.#place && reason.code === "refused" ? UNREACHED : reason;
  }

  /** Try again after a while, or never. */
  #wait(reason) {
    if (!reason.isRetried) {
      this.close();
      this.#on.ended(reason);
      return;
    }
    const backOffMs = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.max(0, this.#numTries - 1));
    const waitMs = Math.max((reason.retryAfterS ?? 0) * 1000, backOffMs * (0.8 + 0.4 * Math.random()));
    this.#later(waitMs, () => this.#connect());
    this.#on.lost({ ...reason, waitMs });
  }

  #later(delayMs, callback) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      callback();
    }, delayMs);
    this.#timers.add(timer);
  }

  #clearTimers() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}

function ownSession() {
  const address = addressOf("v1/session");
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.search = address.hash = "";
  return address.href;
}
