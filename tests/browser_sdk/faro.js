// What the author of a page writes to have it watched by Grafana Faro's web SDK, as its own manual has it.
import { getWebInstrumentations, initializeFaro } from "@grafana/faro-web-sdk";

// `base` is where telemetry goes, `app` is Faro's `app`, `user` an id.
globalThis.watch = ({ base, app, user }) => {
  const faro = initializeFaro({
    url: `${base}/collect`,
    app,
    user: { id: user },
    instrumentations: getWebInstrumentations(),
    batching: { sendTimeout: 250 },
  });
  globalThis.told = () => faro.api.getSession()?.id;
};
