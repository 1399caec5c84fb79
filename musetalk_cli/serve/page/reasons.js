// Why a connection was refused or ended, in words, and whether another try may help.

import { authorized } from "./requests.js";

const TRY_AGAIN = "The page tries again by itself.";

/** From the close code of a session that was open, and the error message that came before it, if one did. */
export function explainClose(code, error) {
  const known = CLOSED[code] ?? (code === 1006 ? CLOSED.lost : CLOSED.other);
  const said = error?.message && !known.isOurs;
  const hint = (said && sentence(error.hint ?? "")) || known.hint;
  return { text: said ? sentence(error.message) : known.text, hint, code, isRetried: Boolean(known.isRetried) };
}

// isOurs: what the server says is meant for programs.
const CLOSED = {
  lost: { text: "The connection to the server was lost.", hint: TRY_AGAIN, isRetried: true },
  other: { text: "The server ended the connection.", hint: TRY_AGAIN, isRetried: true },
  1000: { text: "The conversation has ended." },
  1001: { text: "The server is shutting down.", hint: TRY_AGAIN, isRetried: true, isOurs: true },
  1009: { text: "The page sent a message that is too large for the server." },
  1011: { text: "The session failed on the server.", hint: TRY_AGAIN, isRetried: true },
  4400: { text: "The server did not understand the page.", hint: "Reload it: it may be older than the server." },
  4404: { text: "This server does not offer that avatar.", hint: "Choose another one.", isOurs: true },
  4408: { text: "The conversation was ended because nobody used it.", hint: "Start it again when you like.", isOurs: true },
  4409: { text: "The server did not expect what the page sent.", hint: "Reload the page." },
  4413: { text: "More audio was sent than the server takes.", hint: "Start again with a shorter file.", isOurs: true },
  4429: { text: "This connection is too slow for the video.", hint: TRY_AGAIN, isRetried: true, isOurs: true },
};

/** The browser opens no connection without TLS for a page that came over https. */
export const BLOCKED = {
  text: "The browser does not let this page open the session.",
  hint: "The session is on a machine without TLS: open the page over http.",
  code: "blocked",
  isRetried: false,
};

/** The server is ready, but the machine that it named was not reached, or refused. */
export const UNREACHED = {
  text: "The machine that opens the session did not take it.",
  hint: TRY_AGAIN,
  code: "unreached",
  isRetried: true,
};

/**
 * From the server's status, where it refused before the connection was open: browsers do not say why.
 * Returns {text, hint, code, isRetried, retryAfterS}.
 */
export async function explainRefusal(address, token) {
  if (navigator.onLine === false) {
    const hint = "The conversation goes on when it is back.";
    return { text: "This device is offline.", hint, code: "offline", isRetried: true };
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

/** The server tells in its status why it would refuse a session now. */
function explainStatus({ refusal }) {
  const known = REFUSED[refusal?.code] ?? REFUSED.other;
  const text = known.text ?? sentence(refusal.message);
  return { ...known, text, code: refusal?.code ?? "refused", isRetried: true, retryAfterS: refusal?.retry_after_s };
}

const REFUSED = {
  full: { hint: "The page tries again until one is free." },
  draining: { text: "The server is shutting down.", hint: TRY_AGAIN },
  client_full: { hint: "Close one of them, in this browser or another." },
  other: { text: "The server refused the connection.", hint: TRY_AGAIN },
};

/** An answer that is no success, also to other requests of the page. */
export function explainHttp(response) {
  const { status } = response;
  const retryAfterS = Number(response.headers.get("Retry-After")) || undefined;
  if (status === 401) {
    return { text: "This server asks for a token.", code: "token", isRetried: false };
  }
  if (status === 403) {
    const hint = "Open the page under the address that the server printed. Its setting serve.allow_origins lets others in.";
    return { text: "The server does not answer to this address.", hint, code: "origin", isRetried: false };
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
  if (!whole) return "";
  return whole[0].toUpperCase() + whole.slice(1) + (/[.!?…]$/.test(whole) ? "" : ".");
}
