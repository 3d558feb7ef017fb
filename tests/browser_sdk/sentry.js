// What the author of a page writes to have it watched by Sentry's SDK for browsers, as its own manual has it; and what an
// error and a span need to say of which session they are (schemas/mapping/sentry.md).
import * as Sentry from "@sentry/browser";

const session = () => Sentry.getIsolationScope().getSession()?.sid;

// `dsn` is where telemetry goes.
globalThis.watch = ({ dsn, release, user }) => {
  Sentry.init({
    dsn,
    release,
    integrations: [Sentry.browserTracingIntegration()],
    tracesSampleRate: 1,
    beforeSend: (event) => ({ ...event, tags: { ...event.tags, "session.id": session() } }),
  });
  Sentry.getIsolationScope().setAttribute("session.id", session());
  Sentry.setUser({ id: user });
  globalThis.told = session;
};
