// Files for plugins in JavaScript: `wasi: [files]` in plugin.yaml, and the grant `read: [FOLDER]`.

import { getDirectories } from "../build/wasi-files.js";
import { PluginError, text } from "./whimbrel.js";

const reason = (error) => (error?.payload ?? error)?.tag ?? error?.payload ?? error;

// The granted folder that the path lies in, and the way from there.
function found(path) {
  let best;
  for (const [folder, name] of getDirectories()) {
    const root = name.endsWith("/") ? name : `${name}/`;
    if (`${path}/`.startsWith(root) && !(best && best.root.length > root.length)) best = { folder, root };
  }
  if (!best) throw new PluginError("denied", `${path}: no granted folder holds it; \`grants: {read: [FOLDER]}\``);
  return { folder: best.folder, inside: path.slice(best.root.length) || "." };
}

function open(path, openFlags) {
  const { folder, inside } = found(path);
  try {
    return folder.openAt({ symlinkFollow: true }, inside, openFlags, { read: true });
  } catch (error) {
    throw new PluginError("unavailable", `${path}: ${reason(error)}`);
  }
}

/** The bytes of a file, of which there may be `most`. */
export function readFile(path, { most = 8 << 20 } = {}) {
  const file = open(path, {});
  const parts = [];
  let size = 0;
  for (let end = false; !end; ) {
    let part;
    [part, end] = file.read(65536, size);
    size += part.length;
    if (size > most) throw new PluginError("too-large", most);
    parts.push(part);
  }
  const whole = new Uint8Array(size);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

/** The same, as text. */
export const readText = (path, options) => text(readFile(path, options));
