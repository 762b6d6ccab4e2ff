// The libraries that the page's modules find in the window, for modules that draw.

import { createRequire } from "node:module";

const vendor = createRequire(new URL("../../../dprkit/report/web/vendor/", import.meta.url));
globalThis.preact = vendor("./preact.min.js");
globalThis.htm = vendor("./htm.umd.js");
globalThis.preactHooks = {};
