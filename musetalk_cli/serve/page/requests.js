// Addresses and tokens of requests to the server that this page came from.

/** An address beside the page, wherever a proxy has put it. */
export function addressOf(path) {
  return new URL(path, document.baseURI);
}

/** Headers of a request with the token. */
export function authorized(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export function base64url(text) {
  const binary = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
