// Where the plugin begins: your class, and the contract's exports for it.

import * as whimbrel from "./whimbrel.js";
import { httpGet } from "./http.js";
import { define } from "./status-page.js";

export const { lifecycle, collect } = whimbrel.collector(define({ ...whimbrel, httpGet }));
