// Where the plugin begins: your class, and the contract's exports for it.

import * as whimbrel from "./whimbrel.js";
import { define } from "./my-plugin.js";

export const { lifecycle, collect } = whimbrel.collector(define(whimbrel));
