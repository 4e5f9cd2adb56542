// An application as the OpenTelemetry SDK for JavaScript has it: spans, metrics and log records, to where $OTEL_EXPORTER_OTLP_* say.
//
//     node app.mjs grpc|http|json RUN
import { createRequire } from 'node:module';

const require = createRequire(process.env.MODULES + '/');
const [protocol, run] = process.argv.slice(2);
const kind = { grpc: 'grpc', http: 'proto', json: 'http' }[protocol];
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${kind}`);
const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${kind}`);
const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${kind}`);
const { context, metrics, trace } = require('@opentelemetry/api');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchSpanProcessor, NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');
const { MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');

const resource = resourceFromAttributes({ 'service.name': `shop-${run}` });
const traces = new NodeTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
traces.register();
const meters = new MeterProvider({ resource, readers: [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter() })] });
const loggers = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor(new OTLPLogExporter())] });

const tracer = trace.getTracer('shop');
const orders = meters.getMeter('shop').createCounter(`orders.${run}`);
const took = meters.getMeter('shop').createHistogram(`took.${run}`);
const log = loggers.getLogger('shop');
for (let number = 0; number < 20; number++) {
  tracer.startActiveSpan(`order ${run}`, (outer) => {
    outer.setAttribute('order.number', number);
    tracer.startActiveSpan(`pay ${run}`, (inner) => {
      log.emit({ body: `paid ${run} ${number}`, severityNumber: 13, context: context.active() });
      inner.end();
    });
    orders.add(1);
    took.record(number * 1.5);
    outer.end();
  });
}
await traces.shutdown();
await meters.shutdown();
await loggers.shutdown();
