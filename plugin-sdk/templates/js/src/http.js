// HTTP for plugins in JavaScript: `wasi: [http]` in plugin.yaml, and the grant `http: ["http://HOST:PORT"]`.

import { handle, Fields, OutgoingRequest } from "../build/wasi-http.js";
import { PluginError, text } from "./whimbrel.js";

const payload = (error) => error?.payload ?? error;

function failed(url, error) {
  const code = payload(error)?.tag ?? String(error);
  const words = /^http-request-denied$/i.test(code)
    ? "not granted; the agent's log says which grant would allow it"
    : code.replaceAll("-", " ").toLowerCase();
  return new PluginError("unavailable", `${url}: ${words}`);
}

/**
 * Gets a URL: {status, headers, body, text(), json()}, whatever the status. The body may have `most` bytes; redirects
 * are answers like others, and not followed.
 */
export function httpGet(url, { headers = {}, most = 8 << 20 } = {}) {
  const [, scheme, authority, path] = /^(https?):\/\/([^/]+)(\/.*)?$/.exec(url) ?? [];
  if (!authority) throw new PluginError("invalid", `${url}: give http://HOST:PORT/PATH`);
  const fields = new Fields();
  for (const [name, value] of Object.entries(headers)) fields.append(name.toLowerCase(), bytes(String(value)));
  const request = new OutgoingRequest(fields);
  request.setScheme({ tag: scheme === "https" ? "HTTPS" : "HTTP" });
  request.setAuthority(authority);
  request.setPathWithQuery(path ?? "/");
  let answer;
  try {
    const future = handle(request, undefined);
    future.subscribe().block();
    answer = future.get();
  } catch (error) {
    throw failed(url, error);
  }
  // A result within a result: the outer one is an error only where it was taken before.
  while (answer && typeof answer === "object" && "tag" in answer && "val" in answer) {
    if (answer.tag === "err") throw failed(url, answer.val);
    answer = answer.val;
  }
  const body = read(url, answer.consume().stream(), most);
  const found = {};
  for (const [name, value] of answer.headers().entries()) found[name.toLowerCase()] = text(value);
  return { status: answer.status(), headers: found, body, text: () => text(body), json: () => JSON.parse(text(body)) };
}

const bytes = (of) => Uint8Array.from(unescape(encodeURIComponent(of)), (letter) => letter.charCodeAt(0));

function read(url, stream, most) {
  const parts = [];
  let size = 0;
  for (;;) {
    let part;
    try {
      part = stream.blockingRead(65536);
    } catch (error) {
      if (payload(error)?.tag === "closed") break;
      throw new PluginError("unavailable", `${url}: the answer broke off`);
    }
    size += part.length;
    if (size > most) throw new PluginError("too-large", most);
    parts.push(part);
  }
  const whole = new Uint8Array(size);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}
