// Files for plugins in JavaScript: `wasi: [files]` in plugin.yaml, and the grant `read: [FOLDER]`.

import { getDirectories } from "../build/wasi-files.js";
import { joined, text } from "./bytes.js";
import { PluginError, within } from "./whimbrel.js";

const reason = (error) => String((error?.payload ?? error)?.tag ?? error?.payload ?? error).replaceAll("-", " ");

// What lies at the path, below the granted folder that is nearest to it, for as long as `use` runs.
function opened(path, openFlags, use) {
  const folders = getDirectories();
  try {
    let best;
    for (const [folder, name] of folders) {
      const root = name.endsWith("/") ? name : `${name}/`;
      if (`${path}/`.startsWith(root) && !(best?.root.length > root.length)) best = { folder, root };
    }
    if (!best) throw new PluginError("denied", `${path}: no granted folder holds it; \`grants: {read: [FOLDER]}\``);
    const inside = path.slice(best.root.length) || ".";
    return within(best.folder.openAt({ symlinkFollow: true }, inside, openFlags, { read: true }), use);
  } catch (error) {
    throw error instanceof PluginError ? error : new PluginError("unavailable", `${path}: ${reason(error)}`);
  } finally {
    for (const [folder] of folders) folder[Symbol.dispose]();
  }
}

/** The bytes of a file, of which there may be `most`. */
export const readFile = (path, { most = 8 << 20 } = {}) =>
  opened(path, {}, (file) => {
    const parts = [];
    let size = 0;
    for (;;) {
      const [part, end] = file.read(65536, size);
      size += part.length;
      if (size > most) throw new PluginError("too-large", most);
      parts.push(part);
      if (end) return joined(parts);
    }
  });

/** The same, as text. */
export const readText = (path, options) => text(readFile(path, options));

/** What is in a folder, by name: [{name, isFolder}]. */
export const readFolder = (path) =>
  opened(path, { directory: true }, (folder) =>
    within(folder.readDirectory(), (entries) => {
      const found = [];
      for (let entry; (entry = entries.readDirectoryEntry()); ) {
        found.push({ name: entry.name, isFolder: entry.type === "directory" });
      }
      return found.sort((a, b) => (a.name < b.name ? -1 : 1));
    }),
  );
