// Turns figures of a JSON status page into gauges. It knows the host by what it is given, so that tests can give it another.

/** What is at a path such as queue.0.depth; undefined where there is nothing. */
export const at = (page, path) => path.split(".").reduce((value, key) => value?.[key], page);

/** host: {log, PluginError, exact} as src/whimbrel.js has them, and httpGet of src/http.js. */
export const define = ({ log, PluginError, exact, httpGet }) =>
  class StatusPage {
    constructor({ config: { url, figures } }) {
      if (!url || !figures) throw new PluginError("config", "url and figures: both are needed");
      this.url = url;
      this.figures = Object.entries(figures).map(([name, { path, unit = "" }]) => ({ metric: { name, unit }, path }));
    }

    collect(emit) {
      const answer = httpGet(this.url, { headers: { accept: "application/json" } });
      if (answer.status !== 200) throw new PluginError("unavailable", `${this.url}: answered ${answer.status}`);
      const page = answer.json(exact);
      for (const { metric, path } of this.figures) {
        const value = at(page, path);
        if (typeof value === "number" || typeof value === "bigint") {
          emit.gauge(metric, value);
        } else {
          log.warn("a figure is not in the page", { figure: metric.name, path });
        }
      }
    }
  };
