// Why a connection was refused or ended, in words, and whether another try may help.

import { authorized } from "./requests.js";

const TRY_AGAIN = "The page tries again by itself.";

/** From the close code of a session that was open, and the error message that came before it, if one did. */
export function explainClose(code, error) {
  const known = CLOSED[code] ?? (code === 1006 ? CLOSED.lost : CLOSED.other);
  const text = error?.message ? sentence(error.message) : known.text;
  const hint = error?.message ? sentence(error.hint ?? "") : (known.hint ?? "");
  return { text, hint, code, isRetried: known.isRetried };
}

const CLOSED = {
  lost: { text: "The connection to the server was lost.", hint: TRY_AGAIN, isRetried: true },
  other: { text: "The server ended the connection.", hint: TRY_AGAIN, isRetried: true },
  1000: { text: "The conversation has ended.", isRetried: false },
  1001: { text: "The server is shutting down.", hint: TRY_AGAIN, isRetried: true },
  1009: { text: "The page sent a message that is too large for the server.", isRetried: false },
  1011: { text: "The session failed on the server.", hint: TRY_AGAIN, isRetried: true },
  4400: { text: "The server did not understand the page.", hint: "Reload it: it may be older than the server.", isRetried: false },
  4404: { text: "This server does not offer that avatar.", hint: "Choose another one.", isRetried: false },
  4408: { text: "The conversation was ended because it was not used.", hint: "Start it again whenever you like.", isRetried: false },
  4409: { text: "The server did not expect what the page sent.", hint: "Reload the page.", isRetried: false },
  4413: { text: "More audio was sent than the server takes.", hint: "Start again, with a shorter file.", isRetried: false },
  4429: { text: "This connection is too slow for the video.", hint: TRY_AGAIN, isRetried: true },
};

/**
 * From the server's status, where it refused before the connection was open: browsers do not say why.
 * Returns {text, hint, code, isRetried, retryAfterS}.
 */
export async function explainRefusal(address, token) {
  if (navigator.onLine === false) {
    return { text: "This device is offline.", hint: "The conversation goes on when it is back.", code: "offline", isRetried: true };
  }
  let response;
  try {
    const signal = AbortSignal.timeout?.(5000);
    response = await fetch(address, { headers: authorized(token), cache: "no-store", signal });
  } catch {
    return { text: "The server does not answer.", hint: TRY_AGAIN, code: "unreachable", isRetried: true };
  }
  return response.ok ? explainStatus(await readJson(response)) : explainHttp(response);
}

function explainStatus(status) {
  const { active = 0, max = Infinity } = status.sessions ?? {};
  if (status.draining) {
    return { text: "The server is shutting down.", hint: TRY_AGAIN, code: "draining", isRetried: true };
  }
  if (active >= max) {
    const all = max === 1 ? "The server's only session is" : `All ${max} sessions of this server are`;
    return { text: `${all} in use.`, hint: "The page tries again until one is free.", code: "full", isRetried: true, retryAfterS: 3 };
  }
  return { text: "The server refused the connection.", hint: TRY_AGAIN, code: "refused", isRetried: true };
}

/** An answer that is no success, also to other requests of the page. */
export function explainHttp(response) {
  const { status } = response;
  const retryAfterS = Number(response.headers.get("Retry-After")) || undefined;
  if (status === 401) {
    return { text: "This server asks for a token.", hint: "", code: "token", isRetried: false };
  }
  if (status === 403) {
    return { text: "The server does not accept pages from this address.", hint: "Open it under the address that the server printed.", code: "origin", isRetried: false };
  }
  if (status === 429) {
    return { text: "You have as many conversations open as this server allows.", hint: "Close one of them.", code: "client_limit", isRetried: true, retryAfterS };
  }
  return { text: `The server answered with an error (HTTP ${status}).`, hint: TRY_AGAIN, code: "http", isRetried: true, retryAfterS };
}

async function readJson(response) {
  try {
    return await response.json();
  } catch {
    return {};
  }
}

function sentence(text) {
  const whole = text.trim();
  return whole && !/[.!?…]$/.test(whole) ? `${whole}.` : whole;
}
