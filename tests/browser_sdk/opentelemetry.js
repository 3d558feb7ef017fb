// What the author of a page writes to have it watched: OpenTelemetry's SDK for browsers with its sessions and its
// instrumentation of fetch; and by hand what no package of it tells yet: that the page is seen or hidden, clicks, views,
// exceptions.
import { SeverityNumber } from "@opentelemetry/api-logs";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { FetchInstrumentation } from "@opentelemetry/instrumentation-fetch";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { BatchSpanProcessor, WebTracerProvider } from "@opentelemetry/sdk-trace-web";
import {
  createDefaultSessionIdGenerator,
  createLocalStorageSessionStore,
  createSessionLogRecordProcessor,
  createSessionManager,
  createSessionSpanProcessor,
} from "@opentelemetry/web-common";

function lasting(storage, key) {
  let value = storage.getItem(key);
  if (!value) storage.setItem(key, (value = crypto.randomUUID()));
  return value;
}

// `base` is where telemetry goes, `attributes` are those of the resource, `user` is an id or nothing.
export async function watch({ base, attributes, user, installation }) {
  const said = resourceFromAttributes({
    ...attributes,
    ...(installation ? { "app.installation.id": lasting(localStorage, "app.installation.id") } : {}),
    "user_agent.original": navigator.userAgent,
  });
  const resource = defaultResource().merge(said);
  const own = `${base}/v1/`;
  const sessions = createSessionManager({
    sessionIdGenerator: createDefaultSessionIdGenerator(),
    sessionStore: createLocalStorageSessionStore(),
    maxDuration: 4 * 3600,
    inactivityTimeout: 1800,
  });
  await sessions.start();
  const named = {
    onEmit: (record) => user && record.setAttribute("user.id", user),
    onStart: (span) => user && span.setAttribute("user.id", user),
    onEnd: () => {},
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  };
  const logs = new LoggerProvider({
    resource,
    processors: [
      createSessionLogRecordProcessor(sessions),
      named,
      new BatchLogRecordProcessor({ exporter: new OTLPLogExporter({ url: own + "logs" }), scheduledDelayMillis: 500 }),
    ],
  });
  const traces = new WebTracerProvider({
    resource,
    spanProcessors: [
      createSessionSpanProcessor(sessions),
      named,
      new BatchSpanProcessor(new OTLPTraceExporter({ url: own + "traces" }), { scheduledDelayMillis: 500 }),
    ],
  });
  traces.register();
  registerInstrumentations({
    tracerProvider: traces,
    instrumentations: [new FetchInstrumentation({ ignoreUrls: [new RegExp("^" + own)] })],
  });

  const logger = logs.getLogger("page");
  const tell = (eventName, said, severityNumber = SeverityNumber.INFO) =>
    logger.emit({ eventName, severityNumber, timestamp: Date.now(), attributes: said });

  const visibility = () =>
    tell("device.app.lifecycle", { "browser.page.visibility": document.visibilityState });
  const view = () => tell("app.screen.view", { "app.screen.name": location.hash.slice(1) || "start" });
  visibility();
  view();
  // Caught on its way down: the batch processors send all they have as the page is hidden, and this must be among it.
  document.addEventListener("visibilitychange", visibility, true);
  addEventListener("hashchange", view);
  addEventListener(
    "click",
    (event) => {
      const at = event.target.closest("button, a");
      if (at) tell("app.widget.click", { "app.widget.id": at.id, "app.widget.name": at.textContent });
    },
    true,
  );
  const failed = (error) =>
    tell(
      "exception",
      {
        "exception.type": error?.name ?? typeof error,
        "exception.message": String(error?.message ?? error),
        "exception.stacktrace": String(error?.stack ?? ""),
      },
      SeverityNumber.ERROR,
    );
  addEventListener("error", (event) => failed(event.error));
  addEventListener("unhandledrejection", (event) => failed(event.reason));
}

globalThis.watch = watch;
