// Tells how old the minute is, as an example. It knows the host by what it is given, so that tests can give it another.

const ELAPSED = { name: "my_plugin.minute.elapsed", unit: "s", description: "Seconds since the minute began." };

/** host: {now, log, PluginError}, as src/whimbrel.js has them. */
export const define = ({ now, log, PluginError }) =>
  class MyPlugin {
    constructor({ config }) {
      const { label = "hello", warn_above = 50 } = config;
      if (!(warn_above >= 0 && warn_above <= 60)) {
        throw new PluginError("config", "warn_above: give a number from 0 to 60");
      }
      this.label = label;
      this.warnAbove = warn_above;
      log.info("started", { label });
    }

    collect(emit) {
      const elapsed = Math.floor(now() / 1e9) % 60;
      emit.gauge(ELAPSED, elapsed, { label: this.label });
      if (elapsed > this.warnAbove) {
        emit.record({ severity: 13, severityText: "WARN", body: "the minute is getting old", attributes: { elapsed } });
      }
    }
  };
