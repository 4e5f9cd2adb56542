"""Tells how old the minute is, as an example."""

from whimbrel import ConfigError, Metric, log, now

ELAPSED = Metric("my_plugin.minute.elapsed", "s", "Seconds since the minute began.")


class MyPlugin:
    """The collector."""

    def __init__(self, context):
        self.label = context.config.get("label", "hello")
        self.warn_above = context.config.get("warn_above", 50)
        if not 0 <= self.warn_above <= 60:
            raise ConfigError("warn_above: give a number from 0 to 60")
        log.info("started", label=self.label)

    def collect(self, emit):
        elapsed = now() // 1_000_000_000 % 60
        emit.gauge(ELAPSED, elapsed, {"label": self.label})
        if elapsed > self.warn_above:
            emit.record(
                "the minute is getting old", severity=13, severity_text="WARN", attributes={"elapsed": elapsed}
            )
