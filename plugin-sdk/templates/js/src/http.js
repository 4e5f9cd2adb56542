// HTTP for plugins in JavaScript: `wasi: [http]` in plugin.yaml, and the grant `http: ["http://HOST:PORT"]`.

import { handle, Fields, OutgoingRequest, RequestOptions } from "../build/wasi-http.js";
import { bytes, joined, text } from "./bytes.js";
import { PluginError, within } from "./whimbrel.js";

const SCHEMES = { http: { tag: "HTTP" }, https: { tag: "HTTPS" } };
const payload = (error) => error?.payload ?? error;

function failed(url, error) {
  const code = payload(error)?.tag ?? String(error);
  const words = /^http-request-denied$/i.test(code)
    ? "not granted; the agent's log says which grant would allow it"
    : code.replaceAll("-", " ").toLowerCase();
  return new PluginError("unavailable", `${url}: ${words}`);
}

/**
 * Gets a URL: {status, headers, body, text(), json(reviver)}, whatever the status. The body may have `most` bytes, and
 * nothing may take longer than `timeout` seconds; redirects are answers like others, and not followed. Over a Unix socket
 * it is `http+unix://`, with the socket's path in hexadecimal digits for the host, and `unix` for the grant.
 */
export function httpGet(url, { headers = {}, timeout = 10, most = 8 << 20 } = {}) {
  const [, scheme, authority, path] = /^(https?|http\+unix):\/\/([^/?#]+)(\/[^#]*)?$/.exec(url) ?? [];
  if (!authority) throw new PluginError("invalid", `${url}: give http://HOST:PORT/PATH`);
  const fields = new Fields();
  for (const [name, value] of Object.entries(headers)) fields.append(name.toLowerCase(), bytes(String(value)));
  const request = new OutgoingRequest(fields);
  request.setScheme(SCHEMES[scheme] ?? { tag: "other", val: scheme });
  request.setAuthority(authority);
  request.setPathWithQuery(path ?? "/");
  const options = new RequestOptions();
  for (const part of ["ConnectTimeout", "FirstByteTimeout", "BetweenBytesTimeout"]) {
    options[`set${part}`](Math.round(timeout * 1e9));
  }
  let answer;
  try {
    answer = within(handle(request, options), (future) => {
      within(future.subscribe(), (ready) => ready.block());
      return future.get();
    });
  } catch (error) {
    throw failed(url, error);
  }
  // A result within a result: the outer one is an error only where it was taken before.
  while (answer && typeof answer === "object" && "tag" in answer && "val" in answer) {
    if (answer.tag === "err") throw failed(url, answer.val);
    answer = answer.val;
  }
  return within(answer, (response) => {
    const found = {};
    within(response.headers(), (fields) => {
      for (const [name, value] of fields.entries()) found[name.toLowerCase()] = text(value);
    });
    const body = within(response.consume(), (incoming) => within(incoming.stream(), (stream) => read(url, stream, most)));
    return { status: response.status(), headers: found, body, text: () => text(body), json: (reviver) => JSON.parse(text(body), reviver) };
  });
}

function read(url, stream, most) {
  const parts = [];
  let size = 0;
  for (;;) {
    let part;
    try {
      part = stream.blockingRead(65536);
    } catch (error) {
      if (payload(error)?.tag === "closed") return joined(parts);
      throw new PluginError("unavailable", `${url}: the answer broke off`);
    }
    size += part.length;
    if (size > most) throw new PluginError("too-large", most);
    parts.push(part);
  }
}
